"""MLServer: a custom runtime with the JSON of the V2 protocol, one tensor per column."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.predictor import ORDER_COLUMNS, QUANTILES, Predictor


class PrepTime(MLModel):
    """The bundle as a model of MLServer."""

    async def load(self) -> bool:
        """Load the bundle."""
        self.predictor = Predictor()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Predict the orders of a request or batch."""
        tensors = {tensor.name: tensor for tensor in payload.inputs}
        timestamps = StringCodec.decode_input(tensors[ORDER_COLUMNS[0]])
        values, restaurants, items = (
            NumpyCodec.decode_input(tensors[name]).reshape(-1).tolist() for name in ORDER_COLUMNS[1:]
        )
        predictions = self.predictor.predict(timestamps, values, restaurants, items)
        columns = dict(zip(QUANTILES, np.ascontiguousarray(predictions.quantiles.T), strict=True))
        outputs = [NumpyCodec.encode_output(name, seconds) for name, seconds in (columns | predictions.points).items()]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)
