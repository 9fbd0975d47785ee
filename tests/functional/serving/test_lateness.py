"""More requests than threads can answer in time."""

import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from support.clients.identities import AUDIENCE
from support.servers.applications import application, serving, wait_for
from support.stores.stores import Watched

from persona_profile.encoding import json_decode
from persona_profile.runtime.waiting import MIN_THREADS

EMAIL = "late@example.com"


def test_late_requests(development_folder, caplog):
    """A request that has waited too long for a thread is rejected at once; a heartbeat is answered."""
    app = application(development_folder)
    proof = app.development.identity_provider.bundle(EMAIL, AUDIENCE)
    begun, thaw = threading.Semaphore(0), threading.Event()
    app.backend._backend = store = Watched()

    def wait() -> None:
        begun.release()
        thaw.wait(30)

    with serving(app, threads=str(MIN_THREADS)) as server, ThreadPoolExecutor(16) as pool:
        server.max_queued_seconds = 0.1

        def ask(path: str, method: str = "GET") -> tuple[int, int, dict[str, object]]:
            connection = http.client.HTTPConnection("127.0.0.1", server.effective_port, timeout=30)
            body = f'{{"proofs": [{{"assertion": "{proof}"}}]}}' if method == "POST" else None
            connection.request(method, path, body, {"Content-Type": "application/json"})
            with connection.getresponse() as response:
                answer = json_decode(response.read())
            connection.close()
            return response.status, int(response.headers.get("Retry-After", 0)), answer

        store.before_read = wait
        slow = [pool.submit(ask, "/v1/sessions", "POST") for _ in range(MIN_THREADS)]
        assert all(begun.acquire(timeout=30) for _ in slow)
        late = [pool.submit(ask, path) for path in ("/v1/", "/v1/profiles", "/v1/openapi.json")]
        heartbeat = pool.submit(ask, "/__lbheartbeat__")
        wait_for(lambda: "Task queue depth is 4" in caplog.messages)
        time.sleep(0.15)
        thaw.set()
        assert 201 in {each.result()[0] for each in slow}
        for each in late:
            status, retry_after, answer = each.result()
            assert (status, answer["code"]) == (503, "overloaded")
            assert retry_after > 0
        assert heartbeat.result()[0] == 200
        assert ask("/v1/")[0] == 200
    app.close()
