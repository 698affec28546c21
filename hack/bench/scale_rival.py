"""The rival of `scale`: the same loop, called by Kopf's stock handlers of creation, resumption and change.

What favours it: it posts no events of its own, and never looks again where our loop would.
"""

import asyncio
import os
from typing import Any

import kopf

from churn_operator.__main__ import Loop, neighbours
from churn_operator.api.base import GROUP, VERSION
from churn_operator.core import logs
from churn_operator.core.objects import Key
from churn_operator.handlers import OURS
from churn_operator.settings import Settings


async def main() -> None:
    settings = Settings.from_environment(os.environ)
    logs.configure(settings.log_format)
    async with neighbours(settings) as (_, cluster):
        loop = Loop(settings, cluster)
        handlers = kopf.OperatorRegistry()

        async def look(body: kopf.Body, **_: Any) -> None:
            await loop.look(Key(str(body["kind"]), str(body.metadata.namespace), str(body.metadata.name)))

        async def login(**arguments: Any) -> kopf.ConnectionInfo | None:
            return kopf.login_with_kubeconfig(**arguments)

        kopf.on.login(registry=handlers)(login)
        for plural in OURS:
            for decorate in (kopf.on.create, kopf.on.resume, kopf.on.update):
                decorate(GROUP, VERSION, plural, registry=handlers)(look)
        kopf_settings = kopf.OperatorSettings()
        kopf_settings.posting.enabled = False
        await kopf.operator(registry=handlers, settings=kopf_settings, clusterwide=True, standalone=True)


if __name__ == "__main__":
    asyncio.run(main())
