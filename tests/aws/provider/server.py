"""A provider that knows the AWS schema and does nothing: Terraform attaches to it over a socket.

`validate`, `plan` and `test` then check names, types, required arguments, nesting, references and
expressions against the true schema, with no download and no account. Enumerations, ranges and
conflicts between arguments live in the real provider's code and are not checked.
server.py SCHEMA SOCKET
"""

import json
import sys
from concurrent import futures
from pathlib import Path

import grpc
import msgpack
import tfplugin5_pb2 as pb
import tfplugin5_pb2_grpc as rpc

NESTING = {'SINGLE': 1, 'LIST': 2, 'SET': 3, 'MAP': 4}
UNKNOWN = msgpack.ExtType(0, b'\0')
TEXT = {'type': '"string"', 'required': False, 'optional': True, 'computed': False}
PROVIDER = {
    'attributes': {name: TEXT for name in ('region', 'profile')},
    'block_types': {'default_tags': {'nesting': 'LIST', 'max': 1, 'min': 0, 'block': {
        'attributes': {'tags': {**TEXT, 'type': '["map","string"]'}}, 'block_types': {}}}},
}


def block(source):
    out = pb.Schema.Block()
    for name, it in source['attributes'].items():
        out.attributes.add(name=name, type=it['type'].encode(), required=it['required'],
                           optional=it['optional'], computed=it['computed'])
    for name, it in source['block_types'].items():
        counted = it['nesting'] in ('LIST', 'SET')
        out.block_types.add(type_name=name, block=block(it['block']),
                            nesting=NESTING[it['nesting']],
                            min_items=it['min'] if counted else 0,
                            max_items=it['max'] if counted else 0)
    return out


def pack(value):
    return pb.DynamicValue(msgpack=msgpack.packb(value))


def unpack(value):
    if value.msgpack:
        return msgpack.unpackb(value.msgpack, strict_map_key=False)
    return json.loads(value.json or b'null')


def made_up(type_name, name, type_, of):
    """A value of the right type for what AWS would have answered about `of`."""
    type_ = json.loads(type_)
    names = [of.get(it) for it in ('name_prefix', 'name')]
    names = [it for it in names if isinstance(it, str) and not it.startswith('made-up')][:1]
    text = '-'.join(['made-up', type_name, name, *names])
    plain = {'string': text, 'number': 0, 'bool': False}
    if isinstance(type_, str):
        return plain[type_]
    return {} if type_[0] == 'map' else []


class Provider(rpc.ProviderServicer):
    def __init__(self, schema):
        self.schema = schema

    def GetSchema(self, request, context):
        out = pb.SchemaResp(provider=pb.Schema(block=block(PROVIDER)))
        for name, it in self.schema['resource'].items():
            out.resource_schemas[name].CopyFrom(pb.Schema(block=block(it)))
        for name, it in self.schema['data'].items():
            out.data_source_schemas[name].CopyFrom(pb.Schema(block=block(it)))
        return out

    def PrepareProviderConfig(self, request, context):
        return pb.PrepResp(prepared_config=request.config)

    def ValidateResourceTypeConfig(self, request, context):
        return pb.ValResp()

    def ValidateDataSourceConfig(self, request, context):
        return pb.ValResp()

    def UpgradeResourceState(self, request, context):
        return pb.UpResp(upgraded_state=pack(json.loads(request.raw_state.json)))

    def Configure(self, request, context):
        return pb.CfgResp()

    def ReadResource(self, request, context):
        return pb.ReadResp(new_state=request.current_state)

    def PlanResourceChange(self, request, context):
        new = unpack(request.proposed_new_state)
        if new is not None and unpack(request.prior_state) is None:
            attributes = self.schema['resource'][request.type_name]['attributes']
            for name, it in attributes.items():
                if it['computed'] and new.get(name) is None:
                    new[name] = UNKNOWN
        return pb.PlanResp(planned_state=pack(new), legacy_type_system=True)

    def ApplyResourceChange(self, request, context):
        new = unpack(request.planned_state)
        if new is not None:
            attributes = self.schema['resource'][request.type_name]['attributes']
            for name, it in attributes.items():
                if isinstance(new.get(name), msgpack.ExtType):
                    new[name] = made_up(request.type_name, name, it['type'], new)
        return pb.ApplyResp(new_state=pack(new), legacy_type_system=True)

    def ReadDataSource(self, request, context):
        new = unpack(request.config)
        for name, it in self.schema['data'][request.type_name]['attributes'].items():
            if it['computed'] and new.get(name) is None:
                new[name] = made_up(request.type_name, name, it['type'], new)
        return pb.RdsResp(state=pack(new))

    def Stop(self, request, context):
        return pb.StopResp()


if __name__ == '__main__':
    provider = Provider(json.loads(Path(sys.argv[1]).read_text()))
    server = grpc.server(futures.ThreadPoolExecutor(8),
                         options=[('grpc.max_send_message_length', -1),
                                  ('grpc.max_receive_message_length', -1)])
    rpc.add_ProviderServicer_to_server(provider, server)
    server.add_insecure_port('unix:' + sys.argv[2])
    server.start()
    print('ready', flush=True)
    server.wait_for_termination()
