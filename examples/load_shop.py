"""Load a shop with ten visitors a second for five seconds; they come whether it answers or not.

python load_shop.py http://127.0.0.1:8000
"""

import asyncio
import sys

from insight_cloud import load
from insight_cloud.load.scenario import Crowd, Limits, Scenario, Stage, Step

visitors = Crowd(
    kind="arrivals",
    start=10,
    stages=(Stage(seconds=5, target=10),),
    steps=(
        Step(name="shelf", path="/", capture={"item": "json:/items/0"}),
        Step(name="buy", method="POST", path="/cart", json={"item": "${item}"}, status=(201,)),
    ),
)
shop = Scenario(
    name="shop",
    scenarios={"visitors": visitors},
    thresholds={"http_req_duration{name:buy}": ["p(95)<2000"], "http_req_failed": ["rate<0.01"]},
    generator=Limits(lag_ms=100),
)

if __name__ == "__main__":
    found = asyncio.run(load.run(shop, sys.argv[1]))
    for request in found.requests:
        print(f"{request.name}: {request.count}, p95 {request.ms.p95:.0f} ms")
    sys.exit(0 if found.passed else 1)
