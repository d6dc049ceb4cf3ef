"""The registry: `python -m services.registry`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit import server
from services.registry import gauges
from services.registry.artifacts import ArtifactStore
from services.registry.consumers import consumers
from services.registry.disposal import Disposal
from services.registry.downloads import Downloads
from services.registry.models import catalogue
from services.registry.promotion import Promoter
from services.registry.servicers.checkpoints import CheckpointServicer
from services.registry.servicers.games import GameServicer
from services.registry.servicers.models import ModelServicer
from services.registry.servicers.versions import VersionServicer
from services.registry.settings import RegistrySettings
from services.registry.tags import TagVocabulary
from services.registry.uploads import Uploads

if TYPE_CHECKING:
    from kit.server import Context, Parts


async def build(context: Context) -> Parts:
    """Put the registry together, with this release's catalogue in its tables."""
    settings: RegistrySettings = context.settings
    store = ArtifactStore(
        settings.store_url,
        settings.staging_dir or settings.home / "staging",
        settings.store_credentials,
    )
    disposal = Disposal(settings, context.sessions, store)
    downloads = Downloads(context.sessions, store, disposal)
    tags = TagVocabulary(settings.custom_tags)
    async with context.sessions.begin() as session:
        await catalogue.seed(session)
    return server.Parts(
        servicers=[
            GameServicer(context.sessions),
            ModelServicer(context.sessions, disposal, tags),
            VersionServicer(context.sessions, downloads, tags, Promoter(context, downloads)),
            CheckpointServicer(
                context.sessions, Uploads(context, settings, store), downloads, disposal
            ),
        ],
        loops={gauges.SWEEP: disposal.keep_sweeping, gauges.SCRUB: disposal.keep_scrubbing},
        measures=[gauges.measure(settings)],
        consumers=consumers(),
        checks={"storage": store.check},
        close=store.close,
    )


if __name__ == "__main__":
    server.main(RegistrySettings, build)
