"""The units that judge a network, whatever data set it was trained on: region proposals, benchmarks, and the audit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from storage.folders import contents_digest
from tasks.batch import Unit
from tasks.evaluate import DATA, OF_PROPOSALS, OF_TRACKS
from tasks.evaluate.inputs import Inputs, data_digest, data_path
from tasks.evaluate.key import key_document
from tasks.evaluate.proposals_key import batches, devkit_digest, drawn_images, proposals_document
from tasks.presets import RunConfig
from tasks.track.audit_key import audit_document


def benchmark_units(config: RunConfig, judged: Inputs) -> Iterator[Unit]:
    """A unit for each benchmark of the configuration whose data is named; `judged`: the network, its tracks, and the
    units of `proposal_units`.

    Without tracks the benchmarks of held-out videos are left out. Raises ValueError, in one line, for an unknown
    benchmark, or for data that cannot be read.
    """
    evaluate = config.evaluate
    digests = {"network": contents_digest(Path(judged.network))} if judged.network else {}
    supervised = data_path(evaluate, "supervised")
    for name in evaluate.benchmarks:
        field = DATA.get(name, "")
        data = data_path(evaluate, field) if field else ""
        if (field and not data) or (name in OF_TRACKS and not judged.triplets):
            continue
        for read in filter(None, (field, "supervised" if supervised else "")):
            if read not in digests:
                digests[read] = data_digest(evaluate, read)
        triplets = judged.triplets if name in OF_TRACKS else ""
        proposals = judged.proposals if name in OF_PROPOSALS else ()
        inputs = replace(judged, triplets=triplets, data=data, supervised=supervised, proposals=proposals)
        document = key_document(name, evaluate, config.seed, inputs, digests)
        yield Unit(name, document, "tasks.evaluate.benchmark:run_benchmark", (name, inputs, evaluate, config.seed))


def proposal_units(config: RunConfig) -> Iterator[Unit]:
    """The region proposals that a benchmark of the configuration needs, a unit for a number of images: they run before
    it, and are found again by any other network. Raises ValueError, in one line, for data that cannot be read."""
    evaluate, folder = config.evaluate, data_path(config.evaluate, "voc")
    if not folder or OF_PROPOSALS.isdisjoint(evaluate.benchmarks):
        return
    devkit = Path(folder)
    drawn, images = drawn_images(evaluate, devkit, config.seed), devkit_digest(devkit)
    search_px = evaluate.detection_search_px
    for split, names in zip((evaluate.detection_train_split, evaluate.detection_test_split), drawn, strict=True):
        for number, batch in enumerate(batches(names), start=1):
            document = proposals_document(images, batch, search_px, config.seed)
            arguments = (folder, batch, search_px, config.seed)
            yield Unit(f"{split}, part {number}", document, "tasks.evaluate.proposals:propose", arguments)


def audit_unit(config: RunConfig) -> Unit:
    """The audit of the configured tracker on the generated world; it asks nothing of a data set."""
    num_videos = config.evaluate.audit_videos
    document = audit_document(config.track, config.seed, num_videos)
    return Unit("tracker audit", document, "tasks.track.audit:audit_tracker", (config.track, config.seed, num_videos))
