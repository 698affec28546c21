"""Asking a server for a prediction whose answer is known."""

from collections.abc import Sequence

import aiohttp

from churn_operator.api.tasks import Golden
from churn_operator.core.kind import Answer

TIMEOUT = aiohttp.ClientTimeout(total=2)
HEADERS = {"x-churn-probe": "true", "x-churn-golden": "true", "Connection": "close"}
"""Marks the request as nobody's: it is counted as a probe's, and logged as a golden one. Each takes a connection of its
own: one that is kept goes on leading to where the Service pointed when it was made."""
TOLERANCE = 1e-4
"""The converted model answers within 1e-5 of scikit-learn; a wrong model misses by far more than this."""
ATTEMPTS = 2


class Prober:
    """Sends golden requests (KServe's V1 protocol)."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def predict(self, url: str, golden: Golden) -> Answer:
        """One request, repeated at once where it failed: a pod that is going takes its connections along."""
        for _ in range(ATTEMPTS):
            answer = await self._ask(url, golden)
            if answer.ok:
                break
        return answer

    async def _ask(self, url: str, golden: Golden) -> Answer:
        instances = [dict(instance) for instance, _ in golden.rows]
        try:
            async with self._session.post(
                url, json={"instances": instances}, headers=HEADERS, timeout=TIMEOUT
            ) as response:
                if response.status != 200:
                    return Answer(
                        ok=False, message=f"{url} answered {response.status}: {(await response.text())[:200]}"
                    )
                body = await response.json(content_type=None)
            got = [float(each["probability"]) for each in body["predictions"]]
        except TimeoutError:
            return Answer(ok=False, message=f"{url} did not answer within {TIMEOUT.total:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Answer(ok=False, message=f"{url} does not answer: {error}")
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
            return Answer(ok=False, message=f"{url} answered something that is no prediction: {error!r}")
        return _judge(url, got, [probability for _, probability in golden.rows])


def _judge(url: str, got: Sequence[float], right: Sequence[float]) -> Answer:
    if len(got) != len(right):
        return Answer(ok=False, message=f"{url} answered {len(got)} predictions where {len(right)} were asked for")
    for mine, theirs in zip(got, right, strict=True):
        if not abs(mine - theirs) <= TOLERANCE:  # so that nan is wrong, too
            return Answer(ok=False, message=f"{url} answered probability {mine:g} where {theirs:g} is right")
    return Answer(ok=True, message=f"probability {', '.join(f'{each:g}' for each in got)} as expected")
