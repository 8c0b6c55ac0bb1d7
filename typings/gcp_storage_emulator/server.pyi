from http.server import ThreadingHTTPServer

class _Api:
    _httpd: ThreadingHTTPServer

class Server:
    _api: _Api
    def start(self) -> None: ...
    def stop(self) -> None: ...

def create_server(host: str, port: int, in_memory: bool, default_bucket: str) -> Server: ...
