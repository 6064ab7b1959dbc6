"""The pages that evaluate writes: templates, their style, and what fills them in."""
