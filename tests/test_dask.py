"""Evaluation in shards on Dask: the figures of one process, whatever happens to the workers.

Every test has a time limit of its own: clusters are processes and sockets, and may hang.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import matnet
from matnet import eval as eval_command
from matnet.datasets import ImageList
from matnet.engines import EngineOptions
from matnet.errors import DataError, EngineError, FileFormatError
from matnet.evaluation import record
from matnet.evaluation.config import EvaluationConfig
from matnet.evaluation.counters import Counter, OneProcess, counter_for
from matnet.evaluation.flow import added
from matnet.evaluation.runner import EngineInfo
from matnet.evaluation.shard import Survey
from matnet.evaluation.tally import Tally, batches_left
from matnet.evaluation.tasks import Classification
from matnet.files import models_folder
from matnet.images import Preprocessing
from matnet.metrics import TopK
from matnet.ops.activation import ReLU

pytest.importorskip("distributed", reason="Dask's distributed is not installed; it is needed for several processes")

from matnet.evaluation import shards
from matnet.evaluation.shards import (
    ShardCounter,
    local_cluster,
    merged,
    require_alike,
    scheduler_at,
    sendable,
    share_network,
)
from tests.helpers import assert_line

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="the time limit of these tests needs SIGALRM"),
]

FOLDER = models_folder() / "digits-lenet"
LIMIT = 240  # seconds; a test takes a few
COPIES = 4  # of the 355 images, so that a worker can die on the way
MISTAKES = 10 * COPIES  # that digits-lenet makes, as OpenCV counts (see test_digits_lenet)


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"the test took more than {LIMIT} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def net() -> matnet.Network:
    return matnet.load(FOLDER / "digits-lenet.mat")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageList:
    """The test images several times, one of them damaged in each copy."""
    found = ImageList.load(FOLDER / "test")
    bad = tmp_path_factory.mktemp("images") / "bad.png"
    bad.write_text("no image")
    paths = (found.paths * COPIES)[:-1]
    return replace(found, paths=(*paths, bad), labels=np.tile(found.labels, COPIES))


@pytest.fixture(scope="module")
def job(net: matnet.Network) -> EvaluationConfig:
    engine = EngineOptions("numpy", batch_size=16)
    return EvaluationConfig(Preprocessing.from_meta(net.meta), net.outputs[-1], engine)


@pytest.fixture(scope="module")
def expected(net: matnet.Network, job: EvaluationConfig, images: ImageList) -> Tally:
    return counted(OneProcess(net, job, Classification(images)))


def counted(counter: Counter, start: Tally | None = None, watch: Any = lambda _: None) -> Tally:
    """All images that `start` has not counted, in batches of 16."""
    start = start or Tally(TopK())
    return added(start, counter.tallies(batches_left(len(counter.task.paths), 16, start.done)), watch)


def assert_same_counts(found: Tally, expected: Tally) -> None:
    assert found.counts == expected.counts
    assert found.done == expected.done
    assert [number for number, _ in found.unreadable] == [number for number, _ in expected.unreadable]
    assert (found.counts.images, found.counts.wrong[1]) == (355 * COPIES - 1, MISTAKES)


def test_a_worker_that_is_killed_changes_no_figure(
    net: matnet.Network, job: EvaluationConfig, images: ImageList, expected: Tally
) -> None:
    """All workers are killed while shards are computed; without a file the new ones get the network itself again."""
    killed: list[int] = []
    with local_cluster(2, 2) as cluster:
        assert ShardCounter(cluster, net, job, Classification(images)).network is None
        edited = net.copy()
        edited.params["conv1f"].value = edited.params["conv1f"].value + 1
        assert ShardCounter(cluster, edited, job, Classification(images)).network is not None
        counter = ShardCounter(cluster, sendable(net), job, Classification(images))
        assert counter.network is not None
        victims = set(cluster.client.run(os.getpid).values())

        def watch(tally: Tally) -> None:
            if not killed:
                killed.append(tally.images)
                for victim in victims:
                    os.kill(victim, signal.SIGKILL)

        found = counted(counter, watch=watch)
        assert 0 < killed[0] < len(images)
        assert_same_counts(found, expected)
        assert victims.isdisjoint(cluster.client.run(os.getpid).values())
        assert "computed in shards on 2 Dask workers" in counter.info.notes


def test_a_run_goes_on_in_shards_where_one_process_stopped(
    net: matnet.Network, job: EvaluationConfig, images: ImageList, expected: Tally
) -> None:
    part = counted(OneProcess(net, job, Classification(images.head(330))))
    with counter_for(net, job, Classification(images), workers=1) as counter:
        assert_same_counts(counted(counter, part), expected)


def test_the_command_is_interrupted_and_resumed_on_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--quiet", "--backend", "numpy", "--batch-size", "4", "--workers", "2", "--json", str(tmp_path / "a")]

    def watch(tally: Tally) -> None:
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(eval_command, "progress", lambda *_: nullcontext(watch))
        assert eval_command.main(options) == 130
    told = capsys.readouterr().err
    assert "interrupted after" in told
    assert "with --resume" in told
    assert "Traceback" not in told
    assert eval_command.main([*options, "--resume"]) == 0
    row = json.loads((tmp_path / "a").read_text())
    assert (row["images"], row["top1_error"]) == (355, 100 * 10 / 355)
    assert "computed in shards on 2 Dask workers" in row["notes"]


def test_the_workers_of_a_scheduler(
    net: matnet.Network, job: EvaluationConfig, images: ImageList, expected: Tally
) -> None:
    """A scheduler of the user's own, here one that speaks plain TCP."""
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as running,
        counter_for(net, job, Classification(images), scheduler=running.scheduler_address) as counter,
    ):
        assert_same_counts(counted(counter), expected)


def test_an_error_on_a_worker_is_raised_here(net: matnet.Network, job: EvaluationConfig, images: ImageList) -> None:
    wrong = replace(images, labels=images.labels + 5)
    with (
        counter_for(net, job, Classification(wrong), workers=1) as counter,
        pytest.raises(DataError, match="for 10 classes"),
    ):
        counted(counter)


def test_a_shard_that_workers_die_of_is_an_error(net: matnet.Network, job: EvaluationConfig, images: ImageList) -> None:
    """Dask is told to give a task up at its first death."""
    dask = pytest.importorskip("dask", reason="dask is not installed")
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), local_cluster(1, 1) as cluster:
        counter = ShardCounter(cluster, net, job, Classification(images))
        (victim,) = cluster.client.run(os.getpid).values()
        expected = "a shard failed: .*tls://"

        def watch(tally: Tally) -> None:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)

        with pytest.raises(EngineError, match=expected):
            counted(counter, watch=watch)


def test_no_scheduler_at_the_address() -> None:
    expected = r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 within 1 s"
    with pytest.raises(EngineError, match=expected), scheduler_at("tcp://127.0.0.1:9", wait=1):
        pass


def test_an_address_that_is_none() -> None:
    expected = "no Dask scheduler answers at nowhere://x:1"
    with pytest.raises(EngineError, match=expected), scheduler_at("nowhere://x:1", wait=1):
        pass
    with pytest.raises(EngineError, match=r"127\.0\.0\.1: has no port"), scheduler_at("127.0.0.1"):
        pass


def test_a_scheduler_without_workers() -> None:
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=0, dashboard_address=None) as empty,
        pytest.raises(EngineError, match="has no worker after 1 s"),
        scheduler_at(empty.scheduler_address, wait=1),
    ):
        pass


def test_without_dask_the_way_out_is_told(
    monkeypatch: pytest.MonkeyPatch, net: matnet.Network, job: EvaluationConfig, images: ImageList
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    expected = r"python -m pip install 'matnet\[dask\]'"
    with pytest.raises(EngineError, match=expected), counter_for(net, job, Classification(images), workers=2):
        pass


# --- what is checked before anything is computed ---


def surveyed(**changes: Any) -> Survey:
    from matnet.evaluation.record import versions

    return replace(Survey(network=True, images=True, versions=versions()), **changes)


def test_workers_that_do_not_see_the_images_are_named() -> None:
    found = {"tcp://a:1": surveyed(), "tcp://b:2": surveyed(images=False)}
    with pytest.raises(DataError, match=r"1 of 2 workers(.|\n)*tcp://b:2"):
        require_alike(found, Path("/data/a.jpg"))


def test_workers_of_other_versions_are_named() -> None:
    here = surveyed().versions
    found = {
        "tcp://a:1": surveyed(versions={**here, "python": f"{here['python']}rc1"}),
        "tcp://b:2": surveyed(versions={**here, "numpy": "1.0"}),
        "tcp://c:3": surveyed(versions={"missing": "PIL"}),
    }
    with pytest.raises(EngineError) as raised:
        require_alike(found, Path("/data/a.jpg"))
    lines = str(raised.value).splitlines()
    assert "versions" in lines[0]
    assert_line(lines[1], "tcp://b:2", "numpy 1.0", here["numpy"])
    assert [line.split(":")[1] for line in lines[2:]] == ["//c"] * 4
    assert "pillow absent" in str(raised.value)


def test_the_network_is_sent_where_one_worker_does_not_see_it() -> None:
    found = {"tcp://a:1": surveyed(), "tcp://b:2": surveyed(network=False)}
    assert not require_alike(found, Path("/data/a.jpg"))
    assert require_alike({"tcp://a:1": surveyed()}, Path("/data/a.jpg"))


def test_sites_that_differ_are_told() -> None:
    one = EngineInfo("onnx", "cpu", "fp32", 32, None, {"numpy": "2.0"}, ("a note",))
    other = replace(one, backend="cupy", device="gpu:0", batch_size=16, batch_halved_from=32)
    found = merged([one, other, one], 2)
    assert (found.backend, found.device, found.precision) == ("onnx, cupy", "cpu, gpu:0", "fp32")
    assert (found.batch_size, found.batch_halved_from) == (16, 32)
    assert "a note" in found.notes
    assert_line(found.notes, "onnx cpu fp32", "cupy gpu:0 fp32")
    assert_line(found.notes, "2 Dask workers")


def test_nobody_without_the_certificate_of_a_local_cluster_can_speak_to_it() -> None:
    """Dask's server speaks first; who has no certificate of the cluster hears nothing. No HTTP page is served."""
    import socket
    import ssl
    import urllib.error
    import urllib.request

    with local_cluster(1, 1) as cluster:
        address = cluster.client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        place = ("127.0.0.1", int(address.rpartition(":")[2]))
        anybody = ssl.create_default_context()
        anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(place, timeout=5) as plain:
            plain.sendall(bytes(64))
            with suppress(ConnectionError):
                assert plain.recv(1) in (b"", b"\x15"), "nothing, or the alert of TLS (RFC 8446, section 6)"
        with (
            pytest.raises((ssl.SSLError, ConnectionError)),
            socket.create_connection(place, timeout=5) as plain,
            anybody.wrap_socket(plain) as wrapped,
        ):
            assert wrapped.recv(1) == b""
            raise ConnectionError("closed")
        port = cluster.client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.http_server.port)
        for page in ("", "status", "info/main/workers.html", "json/identity.json", "health"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5)


def test_layers_that_a_worker_refuses_are_its_own_fault() -> None:
    """A worker that lives on has the layers of earlier runs, perhaps of a file with the same name."""
    client = SimpleNamespace(register_plugin=Mock(side_effect=FileFormatError("layers.py: a different file")))
    with pytest.raises(EngineError, match=r"a worker: layers\.py.*restart"):
        shards._import_on_workers(client, ())


def test_a_layer_that_a_notebook_defines_again_is_another_network(net: matnet.Network) -> None:
    """A worker that lives on keeps the compiled network under its spec. It cannot read the layer from the file."""

    def defined(factor: float) -> Any:
        """The class as a cell of a notebook defines it: the same name and fields each time."""
        code = {"factor": factor, "__module__": "__main__", "__qualname__": "Own", "__annotations__": {}}
        return dataclass(frozen=True)(type("Own", (ReLU,), code))

    client = Mock()
    client.run.return_value = {"worker": Survey(True, True, record.versions())}
    specs = []
    for kind in (None, defined(1.0), defined(2.0)):
        edited = net.copy()
        layer = next(layer for layer in edited.layers.values() if type(layer.op) is ReLU)
        if kind is not None:
            layer.op = kind()
        specs.append(share_network(client, edited, (), None)[0])
    assert specs[0].path is not None and specs[0].code == ""
    assert specs[1].path is None and specs[1] != specs[2] and specs[1].sha256 == specs[2].sha256
