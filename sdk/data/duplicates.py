"""Finds duplicate samples by their content: what was learned from is not a test."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np

from sdk.graph.dataset import Dataset

#: Of more samples the files are compared, not the pixels, which takes no decoding.
_PIXELS_OF = 4000
_NAMED = 3


def contents(dataset: Dataset) -> list[bytes]:
    """A digest of each sample, in order: of its pixels as the network gets them; of its file where there are many."""
    if len(dataset) > _PIXELS_OF:
        return [dataset.source_digest(int(index)) for index in dataset.indices]
    found = []
    for number in range(len(dataset)):
        found.append(hashlib.sha256(np.ascontiguousarray(dataset.pixels([number])).tobytes()).digest())
    return found


def duplicates_within(dataset: Dataset) -> tuple[str, ...]:
    """A sentence on duplicate samples, and on duplicates in several classes."""
    digests = contents(dataset)
    counts = Counter(digests)
    again = [i for i, digest in enumerate(digests) if counts[digest] > 1]
    if not again:
        return ()
    extra = len(digests) - len(counts)
    named = ", ".join(dataset.source_name(int(dataset.indices[i])) for i in again[:_NAMED])
    notes = [f"{extra} samples are duplicates, such as {named}"]
    labels = dataset.labels
    if labels is not None:
        classes: dict[bytes, set[int]] = {}
        for i in again:
            classes.setdefault(digests[i], set()).add(int(labels[i]))
        torn = sum(len(found) > 1 for found in classes.values())
        if torn:
            notes.append(f"{torn} samples are in several classes at once")
    return tuple(notes)


def shared_samples(learn: Dataset, check: Dataset) -> list[int]:
    """Positions in ``check`` of the samples that ``learn`` has, too."""
    if (len(learn) > _PIXELS_OF) != (len(check) > _PIXELS_OF):
        known = {learn.source_digest(int(index)) for index in learn.indices}
        return [i for i, index in enumerate(check.indices) if check.source_digest(int(index)) in known]
    known = set(contents(learn))
    return [i for i, digest in enumerate(contents(check)) if digest in known]


def without_shared(learn: Dataset, check: Dataset) -> tuple[Dataset | None, str]:
    """``check`` without what is learned from, None where nothing is left, and a sentence on that, empty if none is."""
    shared = shared_samples(learn, check)
    if not shared:
        return check, ""
    named = ", ".join(check.source_name(int(check.indices[i])) for i in shared[:_NAMED])
    told = f"{len(shared)} of {len(check)} images to check on are among those to learn from and are left out: {named}"
    rest = np.setdiff1d(np.arange(len(check)), shared)
    return (check.subset(rest) if len(rest) else None), told


def first_of_each(dataset: Dataset) -> tuple[Dataset, str]:
    """The samples without duplicates, and a sentence on them, empty if all differ."""
    seen: set[bytes] = set()
    kept = []
    for number, digest in enumerate(contents(dataset)):
        if digest not in seen:
            seen.add(digest)
            kept.append(number)
    if len(kept) == len(dataset):
        return dataset, ""
    less = replace(dataset, indices=dataset.indices[np.array(kept)])
    return less, f"{len(dataset) - len(kept)} images are duplicates and do not count"
