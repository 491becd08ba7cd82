"""The models of ``serve``: a pool for each, their state and their metrics."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any, Callable, Mapping

import numpy as np

import device_agent
from device_agent.record.schema import write
from device_agent.record.task import CROP
from device_agent.run.agent import Agent
from device_agent.run.conditions import read_resident_memory
from device_agent.serve import metrics
from device_agent.serve.admission import Pool
from device_agent.tensors.tensor import TensorInfo

#: A worker that gave no sign of life for so long is taken for dead, where no watchdog says otherwise.
LIVE_SECONDS = 60.0


def try_out(agent: Agent) -> None:
    """An inference on an input of zeros, to see that a worker which nobody asked for a while still works."""
    info = agent.model.model.inputs[0]
    agent.predict(np.zeros(info.shape[1:], info.dtype), preprocessed=True)


def _each(
    by_name: list[tuple[str, Pool]], value: Callable[[Pool], float]
) -> list[tuple[metrics.Labels, float]]:
    """A figure of every model, labelled with its name."""
    return [({"model": name}, value(pool)) for name, pool in by_name]


class Serving:
    """All models of one server. ``deadline_seconds`` is what a request waits at most where it does not say."""

    def __init__(
        self,
        pools: Mapping[str, Pool],
        *,
        deadline_seconds: float,
        live_seconds: float = LIVE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pools = dict(pools)
        self.deadline_seconds = deadline_seconds
        self.live_seconds = live_seconds
        self.clock = clock
        self.is_stopping = False
        self.listeners: list[Any] = []
        #: Answers by model and status; requests that got no place, by model and reason.
        self.answered, self.shed = metrics.Counter(), metrics.Counter()
        self._started = time.time()
        self._known = self._releases()
        self._last_sign = clock()
        self._check_begun: float | None = None

    # -- supervision, by one thread ------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Lets every model look for a new release; whether one was taken since the last time, by any caller."""
        for pool in self.pools.values():
            for agent in pool.agents:
                agent.refresh()
        before, self._known = self._known, self._releases()
        return self._known != before

    def _releases(self) -> list[Any]:
        return [agent.release for pool in self.pools.values() for agent in pool.agents]

    def begin_check(self) -> None:
        """Asks every worker for a sign of life."""
        self._check_begun = self.clock()
        for pool in self.pools.values():
            pool.begin_check()

    def check_passed(self) -> bool:
        """Whether all have given one since; true once for each check."""
        if self._check_begun is None or not all(pool.checked() for pool in self.pools.values()):
            return False
        self._check_begun, self._last_sign = None, self.clock()
        return True

    @property
    def is_checking(self) -> bool:
        """Whether workers have been asked for a sign of life that not all have given."""
        return self._check_begun is not None

    # -- what is asked of it -------------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """``live``: every worker gave a sign of life lately. ``ready``: requests are taken, too."""
        live = self.clock() - self._last_sign < self.live_seconds
        models = {
            name: {
                "release": pool.agents[0].release,
                "reload_error": _text(pool.agents[0].reload_error),
            }
            for name, pool in self.pools.items()
        }
        return {
            "live": live,
            "ready": live and not self.is_stopping,
            "stopping": self.is_stopping,
            "models": models,
        }

    def describe_all(self) -> list[dict[str, Any]]:
        """Inputs and outputs of each model."""
        return [self.describe(pool) for pool in self.pools.values()]

    def describe(self, pool: Pool) -> dict[str, Any]:
        """Inputs and outputs of a model."""
        agent: Agent = pool.agents[0]
        model, usage = agent.model.model, agent.usage
        return {
            "name": pool.name,
            "release": agent.release,
            "input": {
                "shape": list(agent.input_shape),
                "dtype": str(model.inputs[0].dtype),
                "preprocess": None if usage.preprocess is None else usage.preprocess.name,
                "flip": list(usage.flip),
                "fit": usage.fit or CROP,
            },
            "task": None if usage.task is None else write(usage.task),
            "inputs": [_described(info) for info in model.inputs],
            "outputs": [
                {
                    "name": info.name,
                    "shape": list(info.shape[info.shape[:1] == (1,) :]),
                    "dtype": "float32",
                }
                for info in model.outputs
            ],
            "labels": list(usage.labels),
            "workers": len(pool.agents),
            "places": pool.capacity,
            "runtime": f"{model.identity.name} {model.identity.version}",
            "delegate": model.delegate,
            "armlet_operators": len(model.armlet_operators()),
        }

    # -- metrics -------------------------------------------------------------------------------------------------

    def metrics_page(self) -> bytes:
        """Everything that is counted, in Prometheus' text format."""
        by_name = sorted(self.pools.items())
        families = [
            *self._request_metrics(by_name),
            *self._release_metrics(by_name),
            *self._connection_metrics(),
            metrics.family("armlet_live", "gauge", "1 while every worker gives signs of life.", self._live()),
            *self._process_metrics(),
        ]
        return metrics.page(families)

    def _request_metrics(self, by_name: list[tuple[str, Pool]]) -> list[list[str]]:
        return [
            metrics.family(
                "armlet_requests_total", "counter", "Answers, by status.", self.answered.samples()
            ),
            metrics.family(
                "armlet_requests_shed_total", "counter", "Requests that were not let in.", self.shed.samples()
            ),
            metrics.family(
                "armlet_queue_length",
                "gauge",
                "Requests that wait for a worker.",
                _each(by_name, lambda p: p.queued),
            ),
            metrics.family(
                "armlet_bodies_coming",
                "gauge",
                "Requests whose head is here and whose body is on its way.",
                _each(by_name, lambda p: p.coming_in),
            ),
            metrics.family(
                "armlet_in_flight",
                "gauge",
                "Requests let in and not answered yet.",
                _each(by_name, lambda p: p.held),
            ),
            metrics.family(
                "armlet_places",
                "gauge",
                "Requests that may be in flight.",
                _each(by_name, lambda p: p.capacity),
            ),
            metrics.family(
                "armlet_workers", "gauge", "Interpreters.", _each(by_name, lambda p: len(p.agents))
            ),
            metrics.family(
                "armlet_workers_busy", "gauge", "Interpreters at work.", _each(by_name, lambda p: p.busy)
            ),
            metrics.histogram_family(
                "armlet_request_duration_seconds",
                "From a place in the queue to the answer, of requests that were answered.",
                [({"model": name}, pool.waiting_and_running) for name, pool in by_name],
            ),
            metrics.histogram_family(
                "armlet_inference_duration_seconds",
                "Resizing, normalising and inference of a request.",
                [({"model": name}, pool.running) for name, pool in by_name],
            ),
        ]

    def _release_metrics(self, by_name: list[tuple[str, Pool]]) -> list[list[str]]:
        return [
            metrics.family(
                "armlet_release_info",
                "gauge",
                "The release that answers; 1 for it.",
                self._release_info(by_name),
            ),
            metrics.family(
                "armlet_reloads_total",
                "counter",
                "New releases that were taken while it ran.",
                _each(by_name, lambda p: max(agent.reloads for agent in p.agents)),
            ),
            metrics.family(
                "armlet_reload_failed",
                "gauge",
                "1 where the last new release could not be loaded and the old one answers.",
                _each(by_name, lambda p: int(any(agent.reload_error is not None for agent in p.agents))),
            ),
        ]

    def _connection_metrics(self) -> list[list[str]]:
        return [
            metrics.family(
                "armlet_connections",
                "gauge",
                "Open connections.",
                [({}, sum(s.connections for s in self.listeners))],
            ),
            metrics.family(
                "armlet_connections_refused_total",
                "counter",
                "Connections beyond the limit.",
                [({}, sum(s.turned_away for s in self.listeners))],
            ),
        ]

    def _release_info(self, by_name: list[tuple[str, Pool]]) -> list[tuple[metrics.Labels, float]]:
        found: list[tuple[metrics.Labels, float]] = []
        for name, pool in by_name:
            for release in sorted({agent.release or "" for agent in pool.agents}):
                identity = pool.agents[0].model.model.identity
                labels = {"model": name, "release": release, "runtime": f"{identity.name} {identity.version}"}
                found.append((labels, 1))
        return found

    def _live(self) -> list[tuple[metrics.Labels, float]]:
        return [({}, int(self.health()["live"]))]

    def _process_metrics(self) -> list[list[str]]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        version = {"version": device_agent.__version__, "python": ".".join(map(str, sys.version_info[:3]))}
        resident = read_resident_memory()
        return [
            metrics.family("armlet_build_info", "gauge", "What serves; 1.", [(version, 1)]),
            metrics.family(
                "process_cpu_seconds_total",
                "counter",
                "User and system time.",
                [({}, used.ru_utime + used.ru_stime)],
            ),
            metrics.family(
                "process_resident_memory_bytes",
                "gauge",
                "Memory in use.",
                [] if resident is None else [({}, resident)],
            ),
            metrics.family(
                "process_start_time_seconds", "gauge", "When it started, in Unix time.", [({}, self._started)]
            ),
        ]


def _text(error: Exception | None) -> str | None:
    return None if error is None else str(error)[:300]


def _described(info: TensorInfo) -> dict[str, Any]:
    """An input as ``:run`` takes it."""
    return {
        "name": info.name,
        "shape": list(info.shape),
        "dtype": str(info.dtype),
        "scale": info.scale or None,
        "zero_point": info.zero_point if info.scale else None,
    }
