"""Makes calls of the Container Runtime Interface: a line with a method and its
request as JSON comes in, a line with the answer goes out."""

import json
import sys

import grpc
from google.protobuf import json_format
import api_pb2 as api  # made by protoc

channel = grpc.insecure_channel("unix:" + sys.argv[1])
for line in sys.stdin:
    method, text = line.split(" ", 1)
    call = channel.unary_unary(
        "/runtime.v1.RuntimeService/" + method,
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=getattr(api, method + "Response").FromString,
    )
    try:
        request = json_format.Parse(text, getattr(api, method + "Request")())
        response = call(request, timeout=250)
        answer = {
            "ok": json_format.MessageToDict(
                response, including_default_value_fields=True, preserving_proto_field_name=True
            )
        }
    except grpc.RpcError as error:
        answer = {"error": error.code().name + ": " + error.details()}
    print(json.dumps(answer), flush=True)
