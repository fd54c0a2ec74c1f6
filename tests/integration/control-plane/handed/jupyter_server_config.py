import socket
from jupyter_server.serverapp import ServerApp

def take_socket(self):
    handed = socket.socket(fileno=3)
    handed.setblocking(False)
    self.http_server.add_socket(handed)
    return True

ServerApp._bind_http_server = take_socket
