"""What a server says by gRPC, for `tfpdu.serving.client`."""

from collections.abc import Callable, Mapping
from typing import Any


class Refused(Exception):
    """The server cannot be reached, or says no; the text says which."""


class NoSuch(Refused):
    """The server knows no such model or version."""


class NoLabel(Refused):
    """The server knows no such label."""


class GrpcDoor:
    """One model of one server.

    Args:
      address: host:port.
      model: its name.
      timeout: seconds for a request.
    """

    def __init__(self, address: str, model: str, timeout: float):
        from tfpdu.serving.examples import protos

        services = protos("prediction_service_pb2_grpc"), protos("model_service_pb2_grpc")
        import grpc  # comes with them

        self._channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)])
        self._model, self._timeout = model, timeout
        self._predict = services[0].PredictionServiceStub(self._channel)
        self._service = services[1].ModelServiceStub(self._channel)

    def predict(self, signature: str, inputs: Mapping[str, Any], which: int | str | None) -> dict[str, Any]:
        """The outputs of a signature."""
        import tensorflow as tf

        from tfpdu.serving.examples import protos

        request = protos("predict_pb2").PredictRequest()
        self._spec(request.model_spec, which)
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        answer = self._ask(self._predict.Predict, request)
        return {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}

    def status(self) -> dict[int, tuple[str, str]]:
        """{version: (state, error)}."""
        from tfpdu.serving.examples import protos

        module = protos("get_model_status_pb2")
        request = module.GetModelStatusRequest()
        request.model_spec.name = self._model
        try:
            answer = self._ask(self._service.GetModelStatus, request)
        except NoSuch:
            return {}
        names = module.ModelVersionStatus.State.Name
        return {int(v.version): (names(v.state), v.status.error_message) for v in answer.model_version_status}

    def version(self, label: str) -> int | None:
        """The version that a label means."""
        try:
            return int(self._metadata(label).model_spec.version.value)
        except (NoSuch, NoLabel):
            return None

    def metadata(self, which: int | str | None) -> dict[str, Any]:
        """The signatures of a version."""
        import tensorflow as tf

        from tfpdu.serving.examples import protos

        defined = protos("get_model_metadata_pb2").SignatureDefMap()
        self._metadata(which).metadata["signature_def"].Unpack(defined)
        return {
            name: {
                side: {key: tf.dtypes.as_dtype(t.dtype).name for key, t in getattr(signature, side).items()}
                for side in ("inputs", "outputs")
            }
            for name, signature in defined.signature_def.items()
            if not name.startswith("__")
        }

    def reload(self, models_config: str) -> None:
        """Hands over a configuration."""
        from google.protobuf import text_format

        from tfpdu.serving.examples import protos

        request = protos("model_management_pb2").ReloadConfigRequest()
        text_format.Parse(models_config, request.config)
        answer = self._ask(self._service.HandleReloadConfigRequest, request)
        if answer.status.error_code:
            raise Refused(f"refuses models.config: {answer.status.error_message}")

    def _metadata(self, which: int | str | None) -> Any:
        from tfpdu.serving.examples import protos

        request = protos("get_model_metadata_pb2").GetModelMetadataRequest()
        self._spec(request.model_spec, which)
        request.metadata_field.append("signature_def")
        return self._ask(self._predict.GetModelMetadata, request)

    def _spec(self, spec: Any, which: int | str | None) -> None:
        spec.name = self._model
        if isinstance(which, int):
            spec.version.value = which
        elif which is not None:
            spec.version_label = which

    def _ask(self, method: Callable[..., Any], request: Any) -> Any:
        import grpc

        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            text = error.details() or error.code().name
            if error.code() == grpc.StatusCode.NOT_FOUND:
                raise NoSuch(text) from None
            raise (NoLabel if "label" in text.lower() else Refused)(text) from None
