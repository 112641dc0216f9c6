"""Serve this folder over Open Inference Protocol v2 REST until SIGTERM.

Lineal says where and as what: LINEAL_PORT, LINEAL_MODEL and LINEAL_VERSION.
"""

import asyncio
import os

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from mlserver import MLServer
from mlserver.settings import ModelParameters, ModelSettings, Settings

from runtime import Flights

QUIET = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {name: {"level": "WARNING"} for name in ("mlserver", "uvicorn")},
}


class RestServer(MLServer):
    """MLServer with its REST side only, listening once the model is loaded.

    MLServer itself also opens a gRPC port, and listens first: for a moment it
    then says it is ready when it has no model. The attributes used here are
    internal to the version that `env/serve.txt` pins.
    """

    def _create_servers(self) -> None:
        super()._create_servers()
        self._grpc_server = None
        self._rest_server._app.add_exception_handler(RequestValidationError, not_a_request)

    async def start(self, models_settings: list[ModelSettings]) -> None:
        for model in models_settings:
            await self._model_registry.load(model)
        await self._rest_server.start()


async def not_a_request(_: Request, error: RequestValidationError) -> JSONResponse:
    """A body that is no infer request, in the protocol's form of an error."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return JSONResponse({"error": f"{where}: {first['msg']}"}, status_code=400)


async def main() -> None:
    """Run one model in one process; Lineal starts one process for each version."""
    server = RestServer(
        Settings(
            host="127.0.0.1",
            http_port=int(os.environ["LINEAL_PORT"]),
            parallel_workers=0,
            metrics_endpoint=None,
            gzip_enabled=False,
            debug=False,
            logging_settings=QUIET,
        )
    )
    model = ModelSettings(
        name=os.environ["LINEAL_MODEL"],
        implementation=Flights,
        parameters=ModelParameters(version=os.environ["LINEAL_VERSION"]),
    )
    await server.start([model])


if __name__ == "__main__":
    asyncio.run(main())
