"""A stand-in for `tensorflow_model_server`: reads models.config, loads SavedModels, answers by REST and gRPC.

It follows the server's contract as far as publishing depends on it: `specific` versions alone are loaded; new ones
before old ones are dropped (availability-preserving); a version that is in use is dropped when its last request is
answered; a label may only be put on a version that is available, and a configuration with another is refused as to its
labels; a model that is not named is dropped; what is dropped stays known as END.
"""

import base64
import contextlib
import faulthandler
import json
import os
import re
import socket
import sys
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from tfpdu.serving.export import damage

_PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?(/metadata|:predict)?")


class Fault(Exception):
    """A request that fails, with its HTTP code."""

    def __init__(self, code: int, text: str):
        super().__init__(text)
        self.code = code


class Loaded:
    """A version in memory, and how many requests use it."""

    def __init__(self, path: Path):
        self.model = tf.saved_model.load(str(path))
        self.signatures = dict(self.model.signatures)
        self.users = 0
        self.served = 0


class FakeServer:
    """Serves what a models.config names, until closed.

    Args:
      config: the path of models.config; it may not be there yet.
      poll: seconds between two looks at it; None: only a reload by gRPC counts.
      slow: seconds that loading takes longer.
      rpc: also answer by gRPC.
      known: versions that some server has loaded before, by their file list; a whole copy of one is taken for loaded.
    """

    def __init__(
        self, config: Path, poll: float | None = 0.02, slow: float = 0.0, rpc: bool = False, known: dict | None = None
    ):
        self._config, self._poll, self._slow, self._known = config, poll, slow, known
        self._lock, self._reloading, self._stop = threading.RLock(), threading.Lock(), threading.Event()
        self.versions: dict[tuple[str, int], Loaded] = {}
        self.states: dict[tuple[str, int], tuple[str, str]] = {}
        self.labels: dict[tuple[str, str], int] = {}
        self.refusals: list[str] = []
        self.last = ""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.address = f"127.0.0.1:{self._http.server_port}"
        self._threads = [threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)]
        if poll is not None:
            self._threads.append(threading.Thread(target=self._watch, daemon=True))
        self._grpc = self._serve_grpc() if rpc else None
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "FakeServer":
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()
        if self._grpc is not None:
            self._grpc.stop(0).wait()
        for thread in self._threads:
            thread.join(20)

    # ---- configuration -------------------------------------------------------------------------

    def _watch(self) -> None:
        told = False
        while not self._stop.wait(self._poll):
            told = told or self._told_that_it_is_deaf()
            with contextlib.suppress(FileNotFoundError):
                text = self._config.read_text()
                if text != self.last:
                    self.last = text
                    if self.reload(text_format.Parse(text, model_server_config_pb2.ModelServerConfig())):
                        self.last = ""  # the real one tries again at each poll, too

    def _told_that_it_is_deaf(self) -> bool:
        """Says what became of the listening socket where something else in this process has shut it.

        In CI a server refused connections for half a minute once, and nobody knows why: this is to find out.
        """
        handle = self._http.socket.fileno()
        with contextlib.suppress(OSError):
            if self._http.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return False
        if self._stop.is_set():
            return False
        place = Path(f"/proc/self/fd/{handle}")
        now = os.readlink(place) if place.is_symlink() else "closed"
        print(f"FakeServer {self.address}: descriptor {handle} does not listen any more, it is {now}", file=sys.stderr)
        faulthandler.dump_traceback(sys.__stderr__)
        return True

    def reload(self, config: Any) -> str:
        """Follows a configuration; returns what it refuses of it, or ""."""
        with self._reloading:
            wanted = {
                (model.name, number): Path(model.base_path, str(number))
                for model in config.model_config_list.config
                for number in model.model_version_policy.specific.versions
            }
            for key, path in wanted.items():
                if key not in self.versions and (path / "saved_model.pb").exists():
                    self._load(key, path)
            refused = self._label(config)
            for key in [key for key in self.versions if key not in wanted]:
                self._unload(key)
            if refused:
                self.refusals.append(refused)
            return refused

    def _load(self, key: tuple[str, int], path: Path) -> None:
        self.states[key] = ("LOADING", "")
        time.sleep(self._slow)
        try:
            loaded = self._loaded(path)
        except Exception as error:  # as the server says it, and goes on
            self.states[key] = ("END", str(error))
            return
        with self._lock:
            self.versions[key] = loaded
            self.states[key] = ("AVAILABLE", "")

    def _loaded(self, path: Path) -> Loaded:
        if self._known is None or damage(path) is not None:
            return Loaded(path)
        files = (path / "assets.extra" / "files.json").read_bytes()
        if files not in self._known:
            self._known[files] = Loaded(path)
        return self._known[files]

    def _label(self, config: Any) -> str:
        labels = {
            (model.name, label): int(number)
            for model in config.model_config_list.config
            for label, number in model.version_labels.items()
        }
        with self._lock:
            for (name, label), number in labels.items():
                if (name, number) not in self.versions:
                    return f"label {label} of {name}: version {number} is not available"
            self.labels = labels
        return ""

    def _unload(self, key: tuple[str, int]) -> None:
        with self._lock:
            loaded = self.versions.pop(key)
            self.states[key] = ("UNLOADING", "")
        while loaded.users:
            time.sleep(0.001)
        self.states[key] = ("END", "")

    # ---- requests ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _use(self, name: str, version: int | None, label: str | None) -> Any:
        with self._lock:
            if label:
                if (name, label) not in self.labels:
                    raise Fault(400, f"Unrecognized servable version label: {label}")
                version = self.labels[name, label]
            if version is None:
                version = max((n for model, n in self.versions if model == name), default=0)
            loaded = self.versions.get((name, version))
            if loaded is None:
                raise Fault(404, f"Servable not found for request: Specific({name}, {version})")
            loaded.users += 1
        try:
            yield version, loaded
        finally:
            with self._lock:
                loaded.users -= 1
                loaded.served += 1

    def predict(self, name: str, version: Any, label: Any, signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """The outputs as arrays; `inputs` may be lists as they come in JSON."""
        with self._use(name, version, label) as (_, loaded):
            if signature not in loaded.signatures:
                raise Fault(400, f'Serving signature key "{signature}" not found.')
            call = loaded.signatures[signature]
            specs = call.structured_input_signature[1]
            if set(inputs) != set(specs):
                raise Fault(400, f"input keys are {sorted(inputs)}, expected {sorted(specs)}")
            try:
                tensors = {key: _tensor(value, specs[key]) for key, value in inputs.items()}
                return {key: value.numpy() for key, value in call(**tensors).items()}
            except (tf.errors.OpError, ValueError, TypeError) as error:
                raise Fault(400, str(error)) from None

    def status(self, name: str, version: int | None) -> dict[int, tuple[str, str]]:
        found = {n: state for (model, n), state in self.states.copy().items() if model == name and version in (None, n)}
        if not found:
            raise Fault(404, f"Could not find any versions of model {name}")
        return found

    def metadata(self, name: str, version: Any, label: Any) -> tuple[int, Any]:
        with self._use(name, version, label) as (number, loaded):
            described = get_model_metadata_pb2.SignatureDefMap()
            for key, call in loaded.signatures.items():
                signature = described.signature_def[key]
                for side, specs in (
                    ("inputs", call.structured_input_signature[1]),
                    ("outputs", call.structured_outputs),
                ):
                    for tensor, spec in specs.items():
                        getattr(signature, side)[tensor].dtype = spec.dtype.as_datatype_enum
            return number, described

    # ---- REST ----------------------------------------------------------------------------------

    def _handler(self) -> type:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                self._answer(lambda: server._get(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(lambda: server._post(self.path, body))

            def _answer(self, work: Any) -> None:
                try:
                    code, answer = 200, work()
                except Fault as fault:
                    code, answer = fault.code, {"error": str(fault)}
                text = json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        return Handler

    def _get(self, path: str) -> dict[str, Any]:
        name, version, label, what = _parts(path)
        if what == "/metadata":
            number, described = self.metadata(name, version, label)
            defined = {
                key: {
                    side: {n: {"dtype": types_pb2.DataType.Name(t.dtype)} for n, t in getattr(signature, side).items()}
                    for side in ("inputs", "outputs")
                }
                for key, signature in described.signature_def.items()
            }
            spec = {"name": name, "signature_name": "", "version": str(number)}
            return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": defined}}}
        each = self.status(name, version).items()
        return {
            "model_version_status": [
                {"version": str(n), "state": s, "status": {"error_code": "OK", "error_message": e}}
                for n, (s, e) in each
            ]
        }

    def _post(self, path: str, body: bytes) -> dict[str, Any]:
        name, version, label, _ = _parts(path)
        asked = json.loads(body)
        signature = asked.get("signature_name", "serving_default")
        outputs = self.predict(name, version, label, signature, asked["inputs"])
        return {"outputs": {key: _json(value) for key, value in outputs.items()}}

    # ---- gRPC ----------------------------------------------------------------------------------

    def _serve_grpc(self) -> Any:
        server = grpc.server(futures.ThreadPoolExecutor(4))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Predictions(self), server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(self), server)
        self.rpc_address = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        return server


class _Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, server: FakeServer):
        self._server = server

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        spec = request.model_spec
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        signature = spec.signature_name or "serving_default"
        outputs = _told(context, lambda: self._server.predict(spec.name, *_which(spec), signature, inputs))
        answer = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return answer

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        spec = request.model_spec
        number, described = _told(context, lambda: self._server.metadata(spec.name, *_which(spec)))
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.name, answer.model_spec.version.value = spec.name, number
        answer.metadata["signature_def"].Pack(described)
        return answer


class _Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, server: FakeServer):
        self._server = server

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        spec = request.model_spec
        found = _told(context, lambda: self._server.status(spec.name, _which(spec)[0]))
        answer = get_model_status_pb2.GetModelStatusResponse()
        for number, (state, error) in found.items():
            one = answer.model_version_status.add()
            one.version, one.status.error_message = number, error
            one.state = get_model_status_pb2.ModelVersionStatus.State.Value(state)
        return answer

    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:  # noqa: N802
        refused = self._server.reload(request.config)
        answer = model_management_pb2.ReloadConfigResponse()
        answer.status.error_code = 9 if refused else 0
        answer.status.error_message = refused
        return answer


def _told(context: Any, work: Any) -> Any:
    try:
        return work()
    except Fault as fault:
        code = grpc.StatusCode.NOT_FOUND if fault.code == 404 else grpc.StatusCode.INVALID_ARGUMENT
        context.abort(code, str(fault))


def _which(spec: Any) -> tuple[int | None, str | None]:
    return (spec.version.value if spec.HasField("version") else None), spec.version_label or None


def _parts(path: str) -> tuple[str, int | None, str | None, str | None]:
    found = _PATH.fullmatch(path)
    if found is None:
        raise Fault(404, "Malformed request")
    name, version, label, what = found.groups()
    return name, int(version) if version else None, label, what


def _tensor(value: Any, spec: Any) -> Any:
    if isinstance(value, list) and spec.dtype == tf.string:
        value = [base64.b64decode(each["b64"]) if isinstance(each, dict) else each for each in value]
    elif isinstance(value, list):
        flat = np.asarray(value)
        if flat.dtype.kind == "f" and spec.dtype == tf.uint8:
            raise Fault(400, "JSON Value: not uint8")
        value = flat.astype(spec.dtype.as_numpy_dtype)
    elif value.dtype != spec.dtype.as_numpy_dtype and spec.dtype != tf.string:
        raise Fault(400, f"expects arg[0] to be {spec.dtype.name} but {value.dtype} is provided")
    return tf.constant(value, spec.dtype)


def _json(value: np.ndarray) -> Any:
    if value.dtype == object:
        return [each.decode() for each in value]
    return value.tolist()
