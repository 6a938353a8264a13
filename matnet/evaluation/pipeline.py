"""From files to batches: threads decode and prepare images ahead of the engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.errors import DataError

if TYPE_CHECKING:
    from matnet.datasets import ImageList
    from matnet.images import Preprocessing

AHEAD = 2  # batches that are decoded before the engine asks for them


def prepared_batches(
    images: ImageList, preprocessing: Preprocessing, batch_size: int, workers: int
) -> Iterator[tuple[np.ndarray, np.ndarray, list[str]]]:
    """Batches N x C x H x W, their labels, and what could not be read, in list order.

    Threads decode at most AHEAD batches before they are asked for, so memory stays bounded.
    """
    starts = deque(range(0, len(images.paths), batch_size))
    with ThreadPoolExecutor(max_workers=workers) as pool:
        waiting: deque[tuple[int, list[Future[Any]]]] = deque()
        try:
            while starts or waiting:
                while starts and len(waiting) < AHEAD:
                    start = starts.popleft()
                    paths = images.paths[start : start + batch_size]
                    waiting.append((start, [pool.submit(_prepare, path, preprocessing) for path in paths]))
                start, futures = waiting.popleft()
                yield _gather(images, start, [future.result() for future in futures])
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()


def _prepare(path: Path, preprocessing: Preprocessing) -> np.ndarray | DataError:
    try:
        return preprocessing.load(path)
    except DataError as error:
        return error


def _gather(images: ImageList, start: int, results: Sequence[Any]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    faults = [str(result) for result in results if isinstance(result, DataError)]
    readable = [index for index, result in enumerate(results) if not isinstance(result, DataError)]
    labels = np.asarray([images.labels[start + index] for index in readable], dtype=np.int64)
    batch = np.stack([results[index] for index in readable]) if readable else np.zeros((0, 0, 0, 0), np.float32)
    return batch, labels, faults
