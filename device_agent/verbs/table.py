"""The verbs of the agent, by name: each takes parsed options and returns what is answered.

Those of a deploy are in ``deploy_verbs``, those that run models in ``model_verbs`` and ``soak_verbs``.
"""

from __future__ import annotations

import os
import platform
from argparse import Namespace
from typing import Any, Callable

import device_agent
from device_agent.errors import RuntimeUnavailable
from device_agent.package import signature
from device_agent.store.store import board_store, default_home
from device_agent.verbs import deploying as deploy_verbs
from device_agent.verbs import models as model_verbs
from device_agent.verbs import soaking as soak_verbs
from device_agent.verbs.deploying import slot_json
from device_agent.verbs.doctor import doctor


def status(options: Namespace) -> dict[str, Any]:
    """Answers versions, runtime and what is deployed."""
    store = board_store()
    answer: dict[str, Any] = {
        "agent_version": device_agent.__version__,
        "python_version": platform.python_version(),
        "machine": os.uname().machine,
        "runtime": None,
        "runtime_version": None,
        "numpy_version": None,
        "requires_signatures": signature.policy_of(default_home()) is not None,
        "releases": [slot_json(store, store.slot_or_fresh(name)) for name in store.names()],
    }
    try:
        from device_agent.run.runtime import find_runtime

        identity, _ = find_runtime()
        answer.update(
            runtime=identity.name, runtime_version=identity.version, numpy_version=identity.numpy_version
        )
    except (RuntimeUnavailable, ImportError) as error:
        answer["runtime_problem"] = str(error)
    return answer


def prune(options: Namespace) -> dict[str, Any]:
    """Removes environments that nothing needs; answers how many."""
    from device_agent.store import environments as trees

    return {"removed": trees.prune(default_home())}


def choose_kernels(options: Namespace) -> dict[str, Any]:
    """Chooses the kernels of a deployed release by predicted times."""
    from device_agent.verbs import release_setup

    return release_setup.choose_kernels(options)


def serve(options: Namespace) -> dict[str, Any]:
    """Serves deployed models until a signal ends it."""
    from device_agent.serve import supervisor as server

    return server.serve(options)


def service(options: Namespace) -> dict[str, Any]:
    """Installs, starts, stops, removes or looks at the service of a model."""
    from device_agent.serve import systemd_unit as services

    return services.service(options)


def smoke(options: Namespace) -> dict[str, Any]:
    """Runs a tiny model; answers how that went, and which decoders work here."""
    from device_agent.verbs.smoke import smoke_test

    return {**smoke_test(), "decode_kernels": _decode_kernels()}


def _decode_kernels() -> list[str]:
    from device_agent.package import kernel

    return list(kernel.kernels())


VERBS: dict[str, Callable[[Namespace], dict[str, Any]]] = {
    "status": status,
    "missing": deploy_verbs.missing,
    "install": deploy_verbs.install,
    "import": deploy_verbs.import_layout,
    "confirm": deploy_verbs.confirm,
    "rollback": deploy_verbs.rollback,
    "forget": deploy_verbs.forget,
    "discard": deploy_verbs.discard,
    "doctor": doctor,
    "check": deploy_verbs.check,
    "choose-kernels": choose_kernels,
    "mend": deploy_verbs.mend,
    "look": deploy_verbs.look,
    "run": model_verbs.run,
    "predict": model_verbs.predict,
    "bench": model_verbs.bench,
    "loading": model_verbs.loading,
    "load": model_verbs.load,
    "soak": soak_verbs.soak,
    "profile": model_verbs.profile,
    "time": model_verbs.time_models,
    "serve": serve,
    "service": service,
    "smoke": smoke,
    "prune": prune,
}
