"""A small client of TensorFlow Serving, by REST (standard library alone) or gRPC (with tensorflow-serving-api).

from tfpdu.serving import Client
Client("localhost:8501", "digits").predict(images).class_name
Client("grpc://localhost:8500", "digits").predict(image_bytes=[open("7.png", "rb").read()], label="canary")
"""

import base64
import dataclasses
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfpdu.common import UserError
from tfpdu.serving.grpc_door import GrpcDoor, NoLabel, NoSuch, Refused

TIMEOUT = 30.0  # seconds


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a served ensemble says of n pictures.

    Attributes:
      probabilities: float32[n, C], rows sum to 1.
      class_id: int64[n].
      class_name: n texts.
      member_votes: int64[n, k], or None where the export leaves them out.
    """

    probabilities: np.ndarray
    class_id: np.ndarray
    class_name: tuple[str, ...]
    member_votes: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """What a server says of a version: START, LOADING, AVAILABLE, UNLOADING or END, and an error's text or ""."""

    state: str
    error: str = ""


class Client:
    """Asks one server about one model.

    Args:
      server: "host:8501" or "http(s)://host:8501" for REST, "grpc://host:8500" for gRPC.
      model: its name.
      timeout: seconds for a request.

    Every method raises `UserError`, one line that names the server, where it cannot be reached or refuses.
    """

    def __init__(self, server: str, model: str, timeout: float = TIMEOUT):
        scheme, _, rest = server.partition("://") if "://" in server else ("http", "", server)
        if scheme not in ("http", "https", "grpc") or not re.fullmatch(r".+:[0-9]+/?", rest):
            raise UserError(f"--server={server}: expected host:port (REST), https://host:port or grpc://host:port")
        self.server, self.model = server, model
        door = GrpcDoor if scheme == "grpc" else _RestDoor
        self._door: Any = door(rest if scheme == "grpc" else f"{scheme}://{rest.rstrip('/')}", model, timeout)

    def predict(
        self,
        images: np.ndarray | None = None,
        image_bytes: Sequence[bytes] | None = None,
        *,
        version: int | None = None,
        label: str | None = None,
    ) -> Answer:
        """Asks about pictures.

        Args:
          images: uint8[n, h, w, c] of the model's size; or else
          image_bytes: n encoded JPEG or PNG pictures of any size.
          version, label: which version, at most one of them; by default the newest that is loaded.
        """
        if (images is None) == (image_bytes is None):
            raise UserError("predict: expected images or image_bytes")
        if images is not None:
            images = np.asarray(images)
            if images.dtype != np.uint8 or images.ndim != 4:
                raise UserError(f"images: expected uint8 [n, h, w, c], got {images.dtype} {list(images.shape)}")
            outputs = self._ask("serving_default", {"images": images}, version, label)
        else:
            outputs = self._ask("serving_bytes", {"image_bytes": list(image_bytes or ())}, version, label)
        try:
            names = tuple(n.decode() if isinstance(n, bytes) else str(n) for n in outputs["class_name"])
            votes = outputs.get("member_votes")
            return Answer(
                np.asarray(outputs["probabilities"], np.float32),
                np.asarray(outputs["class_id"], np.int64),
                names,
                None if votes is None else np.asarray(votes, np.int64),
            )
        except (KeyError, ValueError) as error:
            raise UserError(f"{self.server}: its answer is not that of an exported ensemble ({error})") from None

    def call(
        self, signature: str, inputs: Mapping[str, Any], version: int | None = None, label: str | None = None
    ) -> dict[str, Any]:
        """Any signature with any inputs: {name: uint8 array or list of bytes} to {name: array or list}."""
        return self._ask(signature, inputs, version, label)

    def status(self) -> dict[int, VersionStatus]:
        """All versions that the server knows, those that it has unloaded among them; none: it has no such model."""
        return {
            n: VersionStatus(state, error) for n, (state, error) in sorted(self._guarded(self._door.status).items())
        }

    def labelled(self, label: str) -> int | None:
        """The version that a label means at the server; None where it knows none or none that is loaded."""
        found = self._guarded(lambda: self._door.version(label))
        return None if found is None else int(found)

    def metadata(self, version: int | None = None, label: str | None = None) -> dict[str, dict[str, dict[str, str]]]:
        """{signature: {"inputs": {name: type}, "outputs": {name: type}}} of a version."""
        return dict(self._guarded(lambda: self._door.metadata(_one(version, label))))

    def reload(self, models_config: str) -> None:
        """Hands over the text of models.config; gRPC alone. The server unloads what it does not name.

        Raises:
          UserError: the server refuses it, or this is a REST door.
        """
        self._guarded(lambda: self._door.reload(models_config))

    def _ask(self, signature: str, inputs: Mapping[str, Any], version: int | None, label: str | None) -> dict[str, Any]:
        return dict(self._guarded(lambda: self._door.predict(signature, inputs, _one(version, label))))

    def _guarded(self, ask: Any) -> Any:
        try:
            return ask()
        except Refused as error:
            text = " ".join(str(error).split())
            raise UserError(f"{self.server}: {text[:500]}") from None


def _one(version: int | None, label: str | None) -> int | str | None:
    if version is not None and label is not None:
        raise UserError(f"predict: expected a version or a label, got {version} and {label!r}")
    return version if label is None else label


class _RestDoor:
    def __init__(self, address: str, model: str, timeout: float):
        self._base, self._timeout = f"{address}/v1/models/{model}", timeout

    def predict(self, signature: str, inputs: Mapping[str, Any], which: int | str | None) -> Mapping[str, Any]:
        columns = {name: _as_json(value) for name, value in inputs.items()}
        body = {"signature_name": signature, "inputs": columns}
        answer = self._fetch(f"{_path(which)}:predict", json.dumps(body).encode())
        outputs = answer["outputs"]
        return outputs if isinstance(outputs, dict) else {"outputs": outputs}

    def status(self) -> dict[int, tuple[str, str]]:
        try:
            answer = self._fetch("")
        except NoSuch:
            return {}
        return {
            int(each["version"]): (str(each["state"]), str(each.get("status", {}).get("error_message", "")))
            for each in answer["model_version_status"]
        }

    def version(self, label: str) -> int | None:
        try:
            return int(self._fetch(f"{_path(label)}/metadata")["model_spec"]["version"])
        except (NoSuch, NoLabel):
            return None

    def metadata(self, which: int | str | None) -> dict[str, Any]:
        defined = self._fetch(f"{_path(which)}/metadata")["metadata"]["signature_def"]["signature_def"]
        return {
            name: {
                side: {key: _type_name(tensor["dtype"]) for key, tensor in signature[side].items()}
                for side in ("inputs", "outputs")
            }
            for name, signature in defined.items()
            if not name.startswith("__")
        }

    def reload(self, models_config: str) -> None:
        raise Refused("a new models.config can be handed over by gRPC alone; name the server as grpc://host:8500")

    def _fetch(self, path: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(self._base + path, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            text = _error_of(error)
            kind = NoSuch if error.code == 404 else NoLabel if "label" in text.lower() else Refused
            raise kind(text or f"HTTP {error.code}") from None
        except (OSError, ValueError, KeyError) as error:
            reason = getattr(error, "reason", error)
            raise Refused(f"does not answer ({reason})") from None


def _path(which: int | str | None) -> str:
    if which is None:
        return ""
    return f"/versions/{which}" if isinstance(which, int) else f"/labels/{which}"


def _type_name(proto: str) -> str:
    """DT_FLOAT is float32, as NumPy and the gRPC door have it."""
    name = proto.removeprefix("DT_").lower()
    return {"float": "float32", "double": "float64", "half": "float16"}.get(name, name)


def _as_json(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [{"b64": base64.b64encode(each).decode()} for each in value]


def _error_of(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
