"""The edge to Dask: shards made by all cores of this machine, or by a cluster, a bounded number at a time."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tocsin_models.study.shards import Order, Shard, make_shard
from tocsin_shared.errors import TocsinError, UnavailableError

AT_ONCE = 3
"""Orders in flight for each worker, so that none waits and no queue grows with the data set."""
CONNECT_SECONDS = 20


def make_shards(
    orders: Sequence[Order], *, scheduler: str, workers: int, tell: Callable[[str], None]
) -> list[Shard]:
    """All shards in the order of ``orders``, made by the Dask cluster at the address ``scheduler``, or by
    ``workers`` processes of this machine where it is empty.

    The workers of a cluster must see recordings and output folder under the same paths.

    Raises:
        UnavailableError: no cluster at that address, a worker died, or a disk is full.
    """
    if not scheduler and workers <= 1:
        return [_told(make_shard(order), number, len(orders), tell) for number, order in enumerate(orders, 1)]
    with _client(scheduler, workers) as client:
        return _gathered(client, orders, tell)


def _gathered(client: Any, orders: Sequence[Order], tell: Callable[[str], None]) -> list[Shard]:
    from distributed import as_completed  # noqa: PLC0415

    waiting = iter(enumerate(orders))
    done: dict[int, Shard] = {}
    numbers: dict[str, int] = {}
    running = as_completed(loop=client.loop)

    def send() -> None:
        for number, order in waiting:
            future = client.submit(make_shard, order, pure=False, retries=0)
            numbers[future.key] = number
            running.add(future)
            return

    for _ in range(AT_ONCE * max(1, len(client.nthreads()))):
        send()
    for future in running:
        done[numbers.pop(future.key)] = _told(_result(future), len(done) + 1, len(orders), tell)
        future.release()
        send()
    return [done[number] for number in range(len(orders))]


def _result(future: Any) -> Shard:
    try:
        shard: Shard = future.result()
    except TocsinError:
        raise
    except Exception as error:  # whatever a worker of a cluster died of
        raise UnavailableError(
            f"a worker failed: {type(error).__name__}: {error}; do all workers run this version of tocsin "
            "and see the same disks?"
        ) from error
    return shard


def _told(shard: Shard, number: int, of: int, tell: Callable[[str], None]) -> Shard:
    broken = f", {len(shard.problems)} problems" if shard.problems else ""
    tell(f"  {number} of {of} shards: {shard.name}, {shard.shape[0]} windows{broken}")
    return shard


@contextmanager
def _client(scheduler: str, workers: int) -> Iterator[Any]:
    from distributed import Client, LocalCluster  # noqa: PLC0415  # takes a second, and few commands need it

    if scheduler:
        try:
            client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UnavailableError(
                f"{scheduler}: no Dask scheduler answers there ({error}); start one with `dask scheduler`"
            ) from error
        with client:
            yield client
        return
    with (
        tempfile.TemporaryDirectory(prefix="tocsin-dask-") as scratch,
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            local_directory=scratch,
            silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
