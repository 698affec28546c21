"""Asking a server for a prediction whose answer is known."""

import aiohttp

from churn_operator.core.kind import Answer
from churn_operator.core.objects import Object

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

    async def predict(self, url: str, instance: Object, probability: float) -> Answer:
        """One request, repeated at once where it failed: a pod that is going takes its connections along."""
        for _ in range(ATTEMPTS):
            answer = await self._ask(url, instance, probability)
            if answer.ok:
                break
        return answer

    async def _ask(self, url: str, instance: Object, probability: float) -> Answer:
        try:
            async with self._session.post(
                url, json={"instances": [dict(instance)]}, headers=HEADERS, timeout=TIMEOUT
            ) as response:
                if response.status != 200:
                    return Answer(
                        ok=False, message=f"{url} answered {response.status}: {(await response.text())[:200]}"
                    )
                body = await response.json(content_type=None)
            got = float(body["predictions"][0]["probability"])
        except TimeoutError:
            return Answer(ok=False, message=f"{url} did not answer within {TIMEOUT.total:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Answer(ok=False, message=f"{url} does not answer: {error}")
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
            return Answer(ok=False, message=f"{url} answered something that is no prediction: {error!r}")
        if not abs(got - probability) <= TOLERANCE:  # so that nan is wrong, too
            return Answer(ok=False, message=f"{url} answered probability {got:g} where {probability:g} is right")
        return Answer(ok=True, message=f"probability {got:g} as expected")
