"""The rival of `scale`: the same loop, called by Kopf's stock handlers of creation, resumption and change.

A change of the status counts: a run's Job is made when the status says what it is given. What favours the rival: it
reads from the same store, and never looks again where our loop would.
"""

import asyncio
import contextlib
import os
from typing import Any

import kopf

from churn_operator.__main__ import Loop, neighbours
from churn_operator.api.base import GROUP, VERSION
from churn_operator.core import logs
from churn_operator.core.errors import KindMissing
from churn_operator.core.objects import Key
from churn_operator.handlers import CHILDREN, OURS, OWN_CHILDREN, WATCHED, registry
from churn_operator.settings import Settings


async def main() -> None:
    settings = Settings.from_environment(os.environ)
    logs.configure(settings.log_format)
    async with neighbours(settings) as (api, cluster):
        loop = Loop(settings, cluster)
        handlers = registry(cluster.store)
        for api_version, kind, labels in WATCHED:
            with contextlib.suppress(KindMissing):
                await cluster.store.fill(kind, api.pages(api_version, kind, (), labels))

        async def look(body: kopf.Body, **_: Any) -> None:
            await loop.look(Key(str(body["kind"]), str(body.metadata.namespace), str(body.metadata.name)))

        for plural in OURS:
            for decorate in (kopf.on.create, kopf.on.resume, kopf.on.update):
                decorate(GROUP, VERSION, plural, registry=handlers)(look)
            kopf.on.field(GROUP, VERSION, plural, field="status", registry=handlers)(look)
        kopf_settings = kopf.OperatorSettings()
        kopf_settings.posting.enabled = False
        for group, _, plural in CHILDREN:
            kopf_settings.watching.label_selectors[group, plural] = OWN_CHILDREN
        await kopf.operator(registry=handlers, settings=kopf_settings, clusterwide=True, standalone=True)


if __name__ == "__main__":
    asyncio.run(main())
