"""Four kinds of users of a cache, each of whom checks what it reads.

A key that only one user writes must be read as that user last wrote it. A key that all read must never go back. What
breaks this is a failure of the run, as an error of the server is.
"""

import random
import uuid
from itertools import count

from locust import FastHttpUser, between, task

TTL_SECONDS = 600
OWN_KEYS = 50
BULK_ITEMS = 20


class CacheUser(FastHttpUser):
    """Has keys of its own, and remembers what it has stored under each."""

    abstract = True
    wait_time = between(0.05, 0.25)
    connection_timeout = 5.0
    network_timeout = 5.0

    def on_start(self):
        self.prefix = f"load/{uuid.uuid4().hex[:12]}"
        self.stored = {}
        self.numbers = count(1)

    def some_key(self):
        return f"{self.prefix}/{random.randrange(OWN_KEYS)}"

    def value(self):
        return {"n": next(self.numbers), "text": "x" * random.choice((16, 100, 400, 2000))}

    def store(self, key, value, name="POST /data"):
        body = {"key": key, "value": value, "ttl": TTL_SECONDS}
        # Until the answer is here, nobody knows what the key holds.
        self.stored.pop(key, None)
        with self.client.post("/data", json=body, name=name, catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"stored with {answer.status_code}: {answer.text}")
                return False
            self.stored[key] = value
            return True

    def read(self, key, name="GET /data/{key}"):
        wanted = self.stored[key]
        with self.client.get(path_of(key), name=name, catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"{key} was stored and is read with {answer.status_code}: {answer.text}")
            elif (got := answer.json()["value"]) != wanted:
                answer.failure(f"{key} is read as {str(got)[:80]}, not as {str(wanted)[:80]}")

    def read_or_store(self):
        """What most programs do with a cache."""
        key = self.some_key()
        if key in self.stored:
            self.read(key)
        else:
            self.store(key, self.value())

    def remove(self):
        if not self.stored:
            return
        key = random.choice(list(self.stored))
        del self.stored[key]
        with self.client.delete(path_of(key), name="DELETE /data/{key}", catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"removed with {answer.status_code}: {answer.text}")
                return
        with self.client.get(path_of(key), name="GET /data/{removed}", catch_response=True) as answer:
            if answer.status_code == 404:
                answer.success()
            else:
                answer.failure(f"{key} was removed and is read with {answer.status_code}")


def path_of(key):
    return "/data/" + key.replace("/", "%2F")


class ReadHeavyUser(CacheUser):
    """Nine reads to a write."""

    weight = 5

    @task(18)
    def reads(self):
        self.read_or_store()

    @task(2)
    def writes(self):
        self.store(self.some_key(), self.value())


class WriteHeavyUser(CacheUser):
    """Two writes to a read, and deletes."""

    weight = 2

    @task(6)
    def writes(self):
        self.store(self.some_key(), self.value())

    @task(3)
    def reads(self):
        self.read_or_store()

    @task(1)
    def removes(self):
        self.remove()


class BulkUser(CacheUser):
    """Stores and reads many keys at once."""

    weight = 2

    @task
    def stores_and_reads(self):
        batch = {f"{self.prefix}/bulk/{number}": self.value() for number in range(BULK_ITEMS)}
        body = [{"key": key, "value": value, "ttl": TTL_SECONDS} for key, value in batch.items()]
        with self.client.post("/data/bulk", json=body, name="POST /data/bulk", catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"stored with {answer.status_code}: {answer.text[:200]}")
                return
        wanted = [*batch, f"{self.prefix}/bulk/absent"]
        with self.client.post(
            "/data/bulk/get", json=wanted, name="POST /data/bulk/get", catch_response=True
        ) as answer:
            if answer.status_code != 200:
                answer.failure(f"read with {answer.status_code}: {answer.text[:200]}")
                return
            found = {item["key"]: item["value"] for item in answer.json()["found"]}
            if found != batch:
                wrong = sorted(key for key in batch if found.get(key) != batch[key])
                answer.failure(f"{len(wrong)} of {len(batch)} keys are not as stored: {wrong[:3]}")


class HotKeyUser(CacheUser):
    """All read one key. One of them writes it, a higher number each time, so nobody may see it fall."""

    weight = 1
    key = f"load/hot/{uuid.uuid4().hex[:12]}"
    writer = None
    # The highest number that was stored or read in this process.
    floor = 0

    def on_start(self):
        super().on_start()
        if HotKeyUser.writer is None:
            HotKeyUser.writer = self
            self.write()

    def on_stop(self):
        if HotKeyUser.writer is self:
            HotKeyUser.writer = None

    def write(self):
        number = HotKeyUser.floor + 1
        if self.store(self.key, {"n": number}, name="POST /data (hot)"):
            HotKeyUser.floor = max(HotKeyUser.floor, number)

    @task
    def reads_or_writes(self):
        if HotKeyUser.writer is self and random.random() < 0.2:
            self.write()
            return
        floor = HotKeyUser.floor
        if floor == 0:
            return
        with self.client.get(path_of(self.key), name="GET /data/{hot}", catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"the hot key is read with {answer.status_code}: {answer.text}")
                return
            number = answer.json()["value"]["n"]
            if number < floor:
                answer.failure(f"the hot key went back from {floor} to {number}")
            HotKeyUser.floor = max(HotKeyUser.floor, number)
