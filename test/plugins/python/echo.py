#!/usr/bin/python3
"""A plugin that is not written in Go: a component that sends messages back, and answers
<count/> of urn:hexmpp:test with how many messages those were; an administrator may ask it to
count to a number. It has the contract and nothing else: grpcio, and the messages that protoc makes of api/proto.

    echo.py NAME FOLDER-OF-MESSAGES

test/e2e starts it.
"""

import os
import sys
import threading
from concurrent import futures

import grpc

NAME = sys.argv[1]
sys.path.insert(0, sys.argv[2])

from hexmpp.plugin.v1 import manifest_pb2, service_pb2, session_pb2  # noqa: E402

NS = "urn:hexmpp:test"


class Plugin:
    def __init__(self):
        self.messages = 0
        self.ended = threading.Event()

    def describe(self, request, context):
        manifest = manifest_pb2.Manifest(name=NAME, version="1", description="sends messages back", max_shards=1)
        manifest.credit.events, manifest.credit.bytes = 64, 1 << 20
        component = manifest.components.add(domain=NAME + ".$domain", stanzas=True)
        handler = component.iq.add(type="get")
        handler.payload.space, handler.payload.local = NS, "count"
        manifest.calls.add(name="count", help="counts to it").arguments.add(name="number")
        return service_pb2.DescribeResponse(manifest=manifest)

    def configure(self, request, context):
        return service_pb2.ConfigureResponse()

    def activate(self, request, context):
        return service_pb2.ActivateResponse()

    def drain(self, request, context):
        return service_pb2.DrainResponse()

    def shutdown(self, request, context):
        threading.Timer(0.05, self.ended.set).start()  # behind this answer
        return service_pb2.ShutdownResponse()

    def call(self, request, context):
        """What is yielded the administrator sees at once. Several calls may run, each in a thread."""
        if not request.arguments[0].isdigit():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no number: " + request.arguments[0])
        for i in range(int(request.arguments[0])):
            yield service_pb2.CallResponse(text=f"{i + 1}\n".encode())

    def session(self, frames, context):
        """Events of a Session are handled one after the other."""
        generation = 0
        for frame in frames:
            if frame.HasField("hello"):
                generation = frame.generation
            answer = session_pb2.PluginFrame(generation=generation, beat=frame.beat)
            for event in frame.events:
                answer.outcomes.append(self.handle(event))
            if answer.beat or answer.outcomes:
                yield answer

    def handle(self, event):
        outcome = session_pb2.Outcome(event=event.id, epoch=event.epoch)
        if event.HasField("iq"):
            outcome.result = f"<count xmlns='{NS}'>{self.messages}</count>".encode()
        elif event.HasField("stanza") and event.stanza.stanza.type == "chat":
            self.messages += 1
            got = event.stanza.stanza
            back = outcome.effects.add().send.stanza
            back.CopyFrom(got)
            setattr(back, "from", got.to)
            back.to = getattr(got, "from")
        return outcome


def main():
    plugin = Plugin()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    unary, messages = grpc.unary_unary_rpc_method_handler, service_pb2

    def call(f, request):
        return unary(f, request_deserializer=request.FromString, response_serializer=lambda m: m.SerializeToString())

    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("hexmpp.plugin.v1.Plugin", {
            "Describe": call(plugin.describe, messages.DescribeRequest),
            "Configure": call(plugin.configure, messages.ConfigureRequest),
            "Activate": call(plugin.activate, messages.ActivateRequest),
            "Drain": call(plugin.drain, messages.DrainRequest),
            "Shutdown": call(plugin.shutdown, messages.ShutdownRequest),
            "Call": grpc.unary_stream_rpc_method_handler(
                plugin.call, request_deserializer=messages.CallRequest.FromString,
                response_serializer=lambda m: m.SerializeToString()),
            "Session": grpc.stream_stream_rpc_method_handler(
                plugin.session, request_deserializer=session_pb2.KernelFrame.FromString,
                response_serializer=lambda m: m.SerializeToString()),
        }),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", {
            "Check": unary(lambda request, context: b"\x08\x01"),  # HealthCheckResponse{status: SERVING}
        }),
    ))
    path = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "s")
    server.add_insecure_port("unix:" + path)
    server.start()
    print(f"1|1|unix|{path}|grpc", flush=True)

    def life_line():
        while os.read(0, 1024):
            pass
        plugin.ended.set()

    threading.Thread(target=life_line, daemon=True).start()
    plugin.ended.wait()
    server.stop(grace=1).wait()


if __name__ == "__main__":
    main()
