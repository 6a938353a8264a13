"""Runners for the GPU engine: from host to host, on data already on the device, and step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from matnet.benchmarks.contenders import MatnetRunner
from matnet.benchmarks.device.kernels import StepTime, step_bytes, step_operations, step_times
from matnet.benchmarks.peers.base import Runner, Subject
from matnet.engines import Engine
from matnet.engines.cupy.engine import CupyEngine
from matnet.errors import EngineError


def gpu_runner(subject: Subject) -> Runner:
    """matnet on the GPU, for one output in the subject's precision."""
    engine = subject.net.compile([subject.output], backend="cupy", precision=subject.precision)
    return GpuRunner(engine, subject.output)


class GpuRunner(MatnetRunner):
    """A network compiled for the GPU; accesses the engine's program for a batch shape."""

    engine: CupyEngine

    def __init__(self, engine: Engine, output: str) -> None:
        assert isinstance(engine, CupyEngine)
        super().__init__(engine, output)

    @property
    def runtime(self) -> str:
        """How the next batch runs: as graphs or step by step."""
        return str(self.engine.path)

    @property
    def work(self) -> list[list[int]]:
        """The minimum bytes and operations of each step of the program that ran last."""
        program = self.engine.last_program
        steps = program.bound.steps if program is not None else []
        net = self.engine.planned
        return [[step_bytes(net, step), step_operations(net, step)] for step in steps]

    def resident(self, x: np.ndarray) -> Callable[[], None]:
        """A synchronized run of all steps on data already in device memory."""
        program = self._program(x)

        def run() -> None:
            with program.device.current({}):
                program.steps(program.device.computing)
                program.device.computing.synchronize()

        return run

    def step_times(self, x: np.ndarray) -> list[StepTime]:
        """The time of each step, measured separately."""
        program = self._program(x)
        with program.device.current({}), program.device.cupy.cuda.using_allocator(program.device.pool.malloc):
            bound = program.bound
            return step_times(self.engine.planned, bound.steps, bound.calls, program.device.cupy)

    def _program(self, x: np.ndarray) -> Any:
        """The program for this shape after one run, with the input in its memory and its graph recorded."""
        if self.engine.layer_by_layer is not None:
            raise EngineError(f"layers run one at a time: {'; '.join(self.engine.notes)}")
        self.engine(x)
        return self.engine.program_for({name: value.shape for name, value in self.engine.take_inputs(x).items()})
