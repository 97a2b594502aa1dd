"""What clients of memcached do with a cluster: each stores what all of them, and REST, then find.

Usage: memcached_clients.py REST_URL MEMCACHED_ADDRESS...; the addresses are those of masters of one cluster.
"""

import json
import subprocess
import sys
import unittest
import urllib.error
import urllib.parse
import urllib.request

import memcache
import pylibmc
from pymemcache.client.base import Client
from pymemcache.client.hash import HashClient

REST, *ADDRESSES = sys.argv[1:]


class Pymemcache:
    def __init__(self, address):
        self.client = Client(address, timeout=5, connect_timeout=5)

    def set(self, key, value):
        return self.client.set(key, value, noreply=False)

    def get(self, key):
        return self.client.get(key)

    def get_many(self, keys):
        return self.client.get_many(keys)

    def delete(self, key):
        return self.client.delete(key, noreply=False)

    def incr(self, key, by):
        return self.client.incr(key, by)

    def gets(self, key):
        return self.client.gets(key)

    def cas(self, key, value, unique):
        return self.client.cas(key, value, unique, noreply=False)


class Pylibmc(Pymemcache):
    def __init__(self, address):
        self.client = pylibmc.Client([address], binary=False, behaviors={"cas": True, "tcp_nodelay": True})

    def set(self, key, value):
        return self.client.set(key, value)

    def get_many(self, keys):
        return self.client.get_multi(keys)

    def delete(self, key):
        return self.client.delete(key)

    def cas(self, key, value, unique):
        return self.client.cas(key, value, unique)


class PythonMemcached(Pymemcache):
    def __init__(self, address):
        self.client = memcache.Client([address], cache_cas=True, socket_timeout=5)

    def set(self, key, value):
        return self.client.set(key, value)

    def get(self, key):
        return as_bytes(self.client.get(key))

    def get_many(self, keys):
        return {key: as_bytes(value) for key, value in self.client.get_multi(keys).items()}

    def delete(self, key):
        # It cannot tell a key that is deleted from one that is not there.
        return bool(self.client.delete(key))

    def gets(self, key):
        # It keeps the uniques to itself.
        value = as_bytes(self.client.gets(key))
        return value, next(iter(self.client.cas_ids.values()))

    def cas(self, key, value, unique):
        self.client.cas_ids = dict.fromkeys((key, key.encode()), unique)
        return bool(self.client.cas(key, value))


class Libmemcached:
    """The command-line tools, which only show."""

    def __init__(self, address):
        self.address = address

    def get(self, key):
        ran = subprocess.run(["memccat", f"--servers={self.address}", key], capture_output=True, timeout=10, check=False)
        return ran.stdout.removesuffix(b"\n") if ran.returncode == 0 else None


WRITERS = [Pymemcache, Pylibmc, PythonMemcached]
READERS = [*WRITERS, Libmemcached]


def as_bytes(value):
    return value.encode() if isinstance(value, str) else value


def rest(key):
    """The JSON of GET /data/{key}."""
    with urllib.request.urlopen(f"{REST}/data/{urllib.parse.quote(key, safe='')}", timeout=5) as answer:
        return json.load(answer)


def rest_bytes(key):
    """The bytes of the value, over REST."""
    with urllib.request.urlopen(f"{REST}/data/{urllib.parse.quote(key, safe='')}?raw", timeout=5) as answer:
        return answer.read()


def each_of(classes):
    """All of them at every address."""
    return [kind(address) for kind in classes for address in ADDRESSES]


class Clients(unittest.TestCase):
    def test_what_one_stores_all_find(self):
        for number, writer in enumerate(each_of(WRITERS)):
            key, value = f"shared-{number}", f"value of {number}".encode()
            self.assertTrue(writer.set(key, value), writer)
            for reader in each_of(READERS):
                self.assertEqual(reader.get(key), value, (writer, reader))
            self.assertEqual(rest_bytes(key), value)

    def test_what_one_deletes_none_finds(self):
        for number, writer in enumerate(each_of(WRITERS)):
            key = f"deleted-{number}"
            writer.set(key, b"x")
            self.assertTrue(writer.delete(key), writer)
            for reader in each_of(READERS):
                self.assertIn(reader.get(key), (None, b""), (writer, reader))
            with self.assertRaises(urllib.error.HTTPError) as missing:
                rest(key)
            self.assertEqual(missing.exception.code, 404)

    def test_a_hundred_keys_come_at_once(self):
        values = {f"many-{number}": b"%d" % number for number in range(100)}
        for key, value in values.items():
            Pymemcache(ADDRESSES[0]).set(key, value)
        for reader in each_of(WRITERS):
            self.assertEqual(reader.get_many([*values, "many-missing"]), values, reader)

    def test_all_count_on_one_number(self):
        clients = each_of(WRITERS)
        clients[0].set("count", b"0")
        for number, client in enumerate(clients, start=1):
            self.assertEqual(client.incr("count", 10), 10 * number, client)
        self.assertEqual(int(rest_bytes("count")), 10 * len(clients))

    def test_a_swap_fails_where_another_client_was_faster(self):
        for number, client in enumerate(each_of(WRITERS)):
            key = f"swapped-{number}"
            client.set(key, b"1")
            value, unique = client.gets(key)
            self.assertEqual(value, b"1")
            self.assertEqual(str(int(unique)), rest(key)["version"], "the unique is REST's version")
            self.assertTrue(client.cas(key, b"2", unique), client)
            self.assertFalse(client.cas(key, b"3", unique), client)
            self.assertEqual(rest_bytes(key), b"2")

    def test_flags_and_expiry_are_kept(self):
        for number, client in enumerate(each_of([Pymemcache])):
            key = f"kept-{number}"
            client.client.set(key, b"x", expire=60, flags=0xC0FFEE, noreply=False)
            for other in each_of([Pymemcache]):
                self.assertEqual(other.client.raw_command(f"get {key}", b"END\r\n").split()[2], b"12648430")
            self.assertLessEqual(rest(key)["ttl"], 60)
            self.assertGreater(rest(key)["ttl"], 50)

    def test_python_values_come_back_as_they_went(self):
        value = {"list": [1, 2.5, "three"], "none": None}
        for kind in (Pylibmc, PythonMemcached):
            for number, client in enumerate(each_of([kind])):
                key = f"pickled-{kind.__name__}-{number}"
                self.assertTrue(client.client.set(key, value, time=60))
                for other in each_of([kind]):
                    self.assertEqual(other.client.get(key), value)

    def test_a_client_that_hashes_over_several_masters_finds_what_one_stored(self):
        hashing = HashClient(ADDRESSES, timeout=5, connect_timeout=5)
        for number in range(50):
            Pymemcache(ADDRESSES[number % len(ADDRESSES)]).set(f"hashed-{number}", b"%d" % number)
        for number in range(50):
            self.assertEqual(hashing.get(f"hashed-{number}"), b"%d" % number)

    def test_the_other_commands(self):
        for client in (Client(address, timeout=5) for address in ADDRESSES):
            client.delete("other", noreply=False)
            self.assertFalse(client.replace("other", b"x", noreply=False))
            self.assertTrue(client.add("other", b"b", noreply=False))
            self.assertFalse(client.add("other", b"x", noreply=False))
            self.assertTrue(client.append("other", b"c", noreply=False))
            self.assertTrue(client.prepend("other", b"a", noreply=False))
            self.assertTrue(client.touch("other", 60, noreply=False))
            self.assertEqual(client.get("other"), b"abc")
            self.assertTrue(client.version())
            self.assertIn(b"curr_items", client.stats())

    def test_memcstat_shows_figures(self):
        for address in ADDRESSES:
            ran = subprocess.run(["memcstat", f"--servers={address}"], capture_output=True, timeout=10, check=True)
            self.assertIn(b"curr_items", ran.stdout)


if __name__ == "__main__":
    # The clients leave their sockets to the end of the process.
    unittest.main(warnings="ignore", argv=sys.argv[:1], verbosity=2)
