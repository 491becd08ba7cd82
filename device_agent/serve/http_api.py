"""The addresses of ``serve`` and what each answers; docs/serve.md is the reference.

GET  /healthz, /healthz/live, /healthz/ready     does it live, does it take requests
GET  /metrics                                    Prometheus' text format
GET  /v1/models, /v1/models/NAME                 what is served, and what it takes
POST /v1/models/NAME:predict                     an image in, an answer out
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import urllib.parse
from typing import Any, Callable, Iterator, Mapping, TypeVar

from device_agent.errors import ArmletError, DataError
from device_agent.image import pictures
from device_agent.record import wire
from device_agent.record.release import NAME
from device_agent.run.picture_process import PictureProcess
from device_agent.serve import form, metrics
from device_agent.serve.admission import DeadlineExceeded, Pool, QueuePlace, TurnedAway
from device_agent.serve.http_connection import HttpConnection
from device_agent.serve.http_reader import RequestRefused
from device_agent.serve.named_tensors import NamedQuestion, named_answer, named_question
from device_agent.serve.turn_lock import AWAY

JSON, RAW = "application/json", "application/octet-stream"
PICTURES = ("image/jpeg", "image/png")
#: Bodies of at most this many bytes are parsed at once, however many they are.
SHORT_BODY_BYTES = 1 << 18

_Question = TypeVar("_Question")
_LONG_BODIES = threading.Lock()
#: ``decoder``: the process that decodes pictures for a worker.
_of_this_thread = threading.local()


class Api(HttpConnection):
    """Answers one connection. ``served`` is the :class:`device_agent.serve.served_models.Serving` behind it."""

    served: Any  # set by a subclass: http.server makes a handler for each connection itself

    def respond(self) -> None:
        self.model, self.started = "", self.served.clock()
        self._check_host()
        path, _, query = self.path.partition("?")
        methods, answer = self._route(path)
        if self.command not in methods:
            raise RequestRefused(
                405,
                "this address does not take this method",
                expected=", ".join(methods),
                found=self.command[:20],
                headers={"Allow": ", ".join(methods)},
            )
        answer(query)

    def count(self, status: int) -> None:
        """Counts an answer by model and HTTP status."""
        self.served.answered.add(model=getattr(self, "model", ""), code=str(status))

    def _check_host(self) -> None:
        """A web page can make a browser ask 127.0.0.1 under a name of the page's own; none is ours."""
        names = self.server.host_names
        host = self.headers.get("Host")
        if names is None or host is None:
            return
        if _host_name(host) not in names:
            raise RequestRefused(
                421,
                "this server is asked for under another name",
                expected="localhost",
                found=host[:80],
                close=True,
            )

    def _route(self, path: str) -> tuple[tuple[str, ...], Callable[[str], None]]:
        reading = ("GET", "HEAD")
        if path in ("/healthz", "/healthz/ready", "/healthz/live"):
            return reading, lambda query: self._health(path)
        if path == "/metrics":
            return reading, lambda query: self.send(200, self.served.metrics_page(), metrics.CONTENT_TYPE)
        if path == "/v1/models":
            return reading, lambda query: self.send_json(200, {"models": self.served.describe_all()})
        if path.startswith("/v1/models/"):
            name, _, action = path[len("/v1/models/") :].partition(":")
            pool = self._pool(name)
            if not action:
                return reading, lambda query: self.send_json(200, self.served.describe(pool))
            if action == "predict":
                return ("POST",), lambda query: self._predict(pool, query)
            if action == "run":
                return ("POST",), lambda query: self._run(pool, query)
        raise RequestRefused(
            404,
            "there is no such address",
            expected="/healthz, /metrics, /v1/models, /v1/models/NAME, and :predict or :run behind it",
            found=path[:80],
        )

    def _pool(self, name: str) -> Pool:
        pool: Pool | None = self.served.pools.get(name) if NAME.fullmatch(name) else None
        if pool is None:
            raise RequestRefused(
                404, "this server has no such model", expected=", ".join(self.served.pools), found=name[:80]
            )
        self.model = name
        return pool

    def _health(self, path: str) -> None:
        state = self.served.health()
        good = state["live"] if path.endswith("live") else state["ready"]
        self.send_json(200 if good else 503, state)

    # -- predicting ---------------------------------------------------------------------------------------------

    def _predict(self, pool: Pool, query: str) -> None:
        options = _options(query)
        self.check_body_length()
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind not in (JSON, RAW, form.TYPE, *PICTURES):
            raise RequestRefused(
                415,
                "a body of this type is not read",
                expected=", ".join((JSON, RAW, *PICTURES, form.TYPE)),
                found=kind[:80] or "no type",
            )
        if kind in (form.TYPE, *PICTURES):
            self._require_decoder()
        wanted = _accepted(self.headers.get("Accept"))
        longest = self.served.deadline_seconds
        if options.get("deadline", 0.0) > longest:
            raise DataError(
                "the deadline is longer than this server's",
                expected=f"a deadline of at most {longest:g} s",
                found=f"{options['deadline']:g}",
            )
        end = time.monotonic() + options.get("deadline", longest)
        place, question = self._let_in(pool, end, lambda: self._question(kind, options))
        predictions = self._result(pool, place, _work(place, question, options))
        if wanted == RAW:
            raw, headers = wire.answer_as_tensor(predictions, options.get("output", 0))
            self.send(200, raw, RAW, headers)
        else:
            self.send_json(200, wire.answer_as_json(predictions, pool.name))

    def _run(self, pool: Pool, query: str) -> None:
        """Every input by name to every output by name."""
        options = _options(query)
        self.check_body_length()
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != JSON:
            raise RequestRefused(
                415, "a body of this type is not read", expected=JSON, found=kind[:80] or "no type"
            )
        longest = self.served.deadline_seconds
        end = time.monotonic() + min(options.get("deadline", longest), longest)
        place, question = self._let_in(pool, end, self._named_question)

        def work(agent: Any) -> Any:
            return agent.release, agent.run(question.inputs, reset=question.reset)

        release, outputs = self._result(pool, place, work)
        self.send_json(
            200, {"model": pool.name, "release": release, "outputs": named_answer(outputs, question)}
        )

    def _named_question(self) -> NamedQuestion:
        body = self.read_body()
        with _parsing(len(body)):
            return named_question(body)

    def _let_in(self, pool: Pool, end: float, read: Callable[[], _Question]) -> tuple[QueuePlace, _Question]:
        """A place until ``end`` by time.monotonic(), once ``read`` has read the body; and what it made of it."""
        try:
            with pool.coming(end - time.monotonic()):
                question = read()
                return pool.enter(end - time.monotonic()), question
        except DeadlineExceeded as error:
            raise RequestRefused(504, error.what, hint=error.hint) from error
        except TurnedAway as error:
            self.served.shed.add(model=pool.name, reason=error.reason)
            raise RequestRefused(
                503,
                error.what,
                expected=error.expected,
                found=error.found,
                hint=error.hint,
                headers={"Retry-After": str(error.retry_after_seconds)},
            ) from error

    def _question(self, kind: str, options: dict[str, Any]) -> wire.Question:
        """What the body asks; a form adds to ``options``. Raises DataError, or RequestRefused where a picture cannot be
        decoded here."""
        body = self.read_body()
        if kind == RAW:
            shape, dtype = self.headers.get("Tensor-Shape"), self.headers.get("Tensor-Dtype")
            return wire.Question(wire.tensor(body, shape, dtype))
        if kind == form.TYPE:
            sent = form.read_form(body, self.headers["Content-Type"])
            more = _options_of(sent.options)
            twice = [name for name in more if name in options or name == "deadline"]
            if twice:
                raise DataError(
                    f"the option {twice[0]} stands in the form",
                    expected="it behind the ? of the address alone",
                )
            options.update(more)
            return wire.Question(sent.image, encoded=True)
        if kind != JSON:
            return wire.Question(body, encoded=True)
        with _parsing(len(body)):
            question = wire.question_of_json(body)
        if question.encoded:
            self._require_decoder()
        return question

    def _result(self, pool: Pool, place: QueuePlace, work: Callable[[Any], Any]) -> Any:
        try:
            with AWAY:
                return place.run(work)
        except DeadlineExceeded as error:
            raise RequestRefused(504, error.what, hint=error.hint) from error
        except DataError:
            raise
        except (ArmletError, MemoryError) as error:
            raise RequestRefused(
                500, f"{pool.name} could not answer", found=str(error)[:300] or "too little memory"
            ) from error

    def _require_decoder(self) -> None:
        try:
            pictures.require_decoder()
        except pictures.NoDecoder as error:
            raise RequestRefused(
                415, error.what, expected=error.expected, found=error.found, hint=error.hint
            ) from error


def _work(place: QueuePlace, question: wire.Question, options: Mapping[str, Any]) -> Callable[[Any], Any]:
    """What a worker shall do for a request."""
    top = options.get("top", question.top)
    preprocessed = options.get("preprocessed", question.preprocessed)
    threshold = options.get("threshold")

    def work(agent: Any) -> Any:
        # Decoded for the worker: no more pictures are in memory at once than there are workers.
        array = question.image
        if question.encoded:
            array = _decoder().decode(array, place.deadline - time.monotonic())
        wire.check_batch(array, len(agent.input_shape))
        return agent.predict(
            array,
            preprocessed=preprocessed,
            top=top,
            threshold=threshold,
            before_each=place.check_time,
        )

    return work


def _decoder() -> PictureProcess:
    """That of this worker's thread."""
    process: PictureProcess | None = getattr(_of_this_thread, "decoder", None)
    if process is None:
        process = _of_this_thread.decoder = PictureProcess()
    return process


@contextlib.contextmanager
def _parsing(size: int) -> Iterator[None]:
    """While a body is parsed it is others' turn; of long ones, which become ten times as large, one at a time."""
    with AWAY, _LONG_BODIES if size > SHORT_BODY_BYTES else contextlib.nullcontext():
        yield


def _host_name(host: str) -> str | None:
    """The name in a Host header, without the port."""
    try:
        return urllib.parse.urlsplit(f"//{host.strip()}").hostname if "/" not in host else None
    except ValueError:
        return None


def _options(query: str) -> dict[str, Any]:
    """What stands behind the "?". Raises DataError."""
    try:
        pairs = urllib.parse.parse_qsl(
            query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=16
        )
    except ValueError as error:
        raise DataError("the address has options that cannot be read", found=str(error)[:80]) from None
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise DataError("an option is given twice", expected="each once", found=", ".join(names)[:80])
    return _options_of(dict(pairs))


def _options_of(given: Mapping[str, str]) -> dict[str, Any]:
    """Options by name, read. Raises DataError."""
    options: dict[str, Any] = {}
    for name, value in given.items():
        read = _READERS.get(name)
        if read is None:
            raise DataError(
                "the request has an unknown option", expected=", ".join(_READERS), found=name[:80]
            )
        try:
            options[name] = read(value)
        except ValueError as error:
            raise DataError(f"the option {name} is wrong", expected=str(error), found=value[:80]) from None
    return options


def _top(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= wire.MAX_TOP):
        raise ValueError(f"1 to {wire.MAX_TOP}")
    return int(text)


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


def _output(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 4):
        raise ValueError("the number of an output")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value <= 3600.0:
        raise ValueError("seconds, above 0 and at most 3600")
    return value


def _score(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= 1e6:
        raise ValueError("a score, such as 0.5")
    return value


_READERS: Mapping[str, Callable[[str], Any]] = {
    "top": _top,
    "threshold": _score,
    "preprocessed": _flag,
    "output": _output,
    "deadline": _seconds,
}


def _accepted(header: str | None) -> str:
    """What the client wants: RFC 9110, 12.5.1, of which only two types matter; JSON where it does not care."""
    if header is None or not header.strip():
        return JSON
    best: dict[str, float] = {}
    for part in header.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        for kind in (JSON, RAW) if name in ("*/*", "application/*") else (name,):
            # What is named counts for more than what a star stands for.
            best[kind] = max(best.get(kind, 0.0), weight - (0.0005 if "*" in name else 0.0))
    json_weight, raw_weight = best.get(JSON, 0.0), best.get(RAW, 0.0)
    if json_weight <= 0.0 and raw_weight <= 0.0:
        raise RequestRefused(
            406, "no answer of this type is given", expected=f"{JSON} or {RAW}", found=header[:80]
        )
    return RAW if raw_weight > json_weight else JSON
