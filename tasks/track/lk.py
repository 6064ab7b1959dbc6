"""What both Lucas-Kanade estimators, `klt` and `torch`, search with, so that they find the same."""

WINDOW_PX = 11  # of 11, 15 and 21 the fastest, and on the generated world the one that left objects least
NUM_HALVINGS = 3  # of the frame, in its pyramid
MAX_STEPS = 20  # on each level
STEP_PX = 0.03  # a search ends with a shorter step
MIN_EIGENVALUE = 1e-4  # OpenCV's default, in its units
