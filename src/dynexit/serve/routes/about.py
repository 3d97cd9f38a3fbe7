"""Information: models, health, metrics, and layers' predictions."""

from dataclasses import asdict

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from dynexit.serve.errors import shutting_down
from dynexit.serve.keys import check_key
from dynexit.serve.replies import Health, LayerPredictions, ModelCard, ModelList
from dynexit.serve.routes.common import REFUSALS, TheService, errors
from dynexit.serve.schema import LayersRequest
from dynexit.serve.service import Service

keyed = APIRouter(tags=["about"], dependencies=[Depends(check_key)])
router = APIRouter(tags=["about"])


@keyed.get("/v1/models", responses=errors(401))
async def models(service: TheService) -> ModelList:
    """The one model that is served."""
    return ModelList(data=[_card(service)])


@keyed.get("/v1/models/{model:path}", responses=errors(401, 404))
async def model(model: str, service: TheService) -> ModelCard:
    """The same by its id."""
    service.check_model(model)
    return _card(service)


@keyed.post("/dynexit/layers", responses=REFUSALS)
async def layers(request: Request, asked: LayersRequest, service: TheService) -> LayerPredictions:
    """What every layer would have predicted at some places of a text."""
    tokens, confidences = await service.layers(asked, request.state.request_id)
    return LayerPredictions(
        start=asked.start,
        texts=[[service.names.text(int(token)) for token in layer] for layer in tokens.T],
        confidences=[[round(float(value), 4) for value in layer] for layer in confidences.T],
    )


@router.get("/health", responses=errors(503))
async def health(service: TheService) -> Health:
    """Whether texts are being written."""
    engine = service.engine
    if not engine.alive:
        raise shutting_down()
    return Health(
        status="stopping" if engine.stopping else "ok",
        running=engine.running,
        waiting=engine.waiting,
    )


@router.get("/metrics", response_class=Response)
async def metrics(service: TheService) -> Response:
    """Counters for Prometheus."""
    return Response(service.metrics.exposition, media_type=CONTENT_TYPE_LATEST)


def _card(service: Service) -> ModelCard:
    lm, tokenizer = service.lm, service.lm.tokenizer
    return ModelCard(
        id=service.name,
        created=service.created,
        num_layers=lm.num_layers,
        max_positions=lm.model.config.max_positions,
        method=service.settings.method,
        methods=service.methods,
        chat=bool(tokenizer and tokenizer.loaded.chat_template),
        runtime=lm.model.runtime_name,
        **asdict(service.about),
    )
