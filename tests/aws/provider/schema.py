"""The schema of the AWS provider, read out of the CDK classes that were generated from it.

No registry of Terraform providers is needed: the npm package @cdktf/provider-aws holds, for each
resource, a class whose synthesizeHclAttributes() names every argument, its type and its nesting,
and an interface that says which are required. Run as a program it writes the schema as JSON:
schema.py LIB_FOLDER OUT
"""

import json
import re
import sys
from pathlib import Path

SIMPLE = {'string': '"string"', 'boolean': '"bool"', 'number': '"number"'}
ELEMENT = {'stringList': 'string', 'stringMap': 'string', 'numberList': 'number',
           'booleanMap': 'bool', 'numberMap': 'number'}
READ = {'String': '"string"', 'Number': '"number"', 'Boolean': '"bool"',
        'List': '["list","string"]', 'NumberList': '["list","number"]',
        'StringMap': '["map","string"]', 'BooleanMap': '["map","bool"]',
        'NumberMap': '["map","number"]'}
NESTING = {'list': 'LIST', 'set': 'SET', 'struct': 'SINGLE', 'map': 'MAP'}
ATTRIBUTE = re.compile(r'\n\s+(\w+): \{\s*value: (.*?),\s*isBlock: (true|false),'
                       r'\s*type: "(\w+)",\s*storageClassType: "(\w+)",?\s*\}', re.S)
INTERFACE = re.compile(r'export interface (\w+)(?: extends [\w.]+)? \{(.*?)\n\}', re.S)
PROPERTY = re.compile(r'readonly (\w+)(\??): ((?:\{[^}]*\}|[^;])+);')


def camel(name):
    first, *rest = name.split('_')
    return first + ''.join(it[:1].upper() + it[1:] for it in rest)


def type_of(kind, storage):
    """The type in the protocol's notation; None for a block, or for what the classes call `any`."""
    if kind == 'simple':
        return SIMPLE.get(storage)
    element = ELEMENT.get(storage)
    return json.dumps([kind, element]) if element else None


class Class:
    """One resource or data source."""

    def __init__(self, folder):
        self.js = (folder / 'index.js').read_text()
        types = (folder / 'index.d.ts').read_text()
        self.name = re.search(r'tfResourceType = "(\w+)"', self.js).group(1)
        self.interfaces = {
            name: {it[0]: (it[1] == '?', it[2].strip()) for it in PROPERTY.findall(body)}
            for name, body in INTERFACE.findall(types)}
        self.structs = {
            name: ATTRIBUTE.findall(body) for name, body in
            re.findall(r'function (\w+)ToHclTerraform\(struct\) \{(.*?)\n\}', self.js, re.S)}
        self.config = re.search(
            r'export interface (\w+) extends cdktf.TerraformMetaArguments', types).group(1)
        body = self.js[self.js.index('class ', self.js.rindex('extends cdktf.Terraform') - 80):]
        self.readable = {name: READ[kind] for kind, name in re.findall(
            r"this\.get(String|Number|Boolean|List|NumberList|StringMap|BooleanMap|NumberMap)"
            r"Attribute\('(\w+)'\)", body)}

    def schema(self):
        start = self.js.index('synthesizeHclAttributes()')
        block = self.block(ATTRIBUTE.findall(self.js[start:]), self.config, top=True)
        for name, type_ in self.readable.items():
            block['attributes'].setdefault(name, {
                'type': type_, 'required': False, 'optional': False, 'computed': True})
        return block

    def block(self, attributes, interface, top=False):
        out = {'attributes': {}, 'block_types': {}}
        properties = self.interfaces.get(interface, {})
        for name, value, is_block, kind, storage in attributes:
            plain = name.replace('_', '')
            key = next((it for it in properties
                        if it == camel(name) or it.lower() == plain), None)
            is_optional, type_text = properties.get(key, (True, ''))
            named = re.findall(r'(\w+)ToHclTerraform', value)
            struct = next((it for it in named if it in self.structs), None)
            type_ = type_of(kind, storage)
            if is_block == 'true' or (struct and type_ is None):
                inner = struct[0].upper() + struct[1:] if struct else None
                nesting = 'SINGLE' if name == 'timeouts' else NESTING.get(kind, 'LIST')
                is_many = '[]' in type_text or nesting in ('SINGLE', 'MAP')
                out['block_types'][name] = {
                    'nesting': nesting, 'min': 0 if is_optional else 1,
                    'max': 0 if is_many else 1,
                    'block': self.block(self.structs.get(struct, []), inner)}
            else:
                out['attributes'][name] = {
                    'type': type_ or '"dynamic"', 'required': not is_optional,
                    'optional': is_optional,
                    'computed': is_optional and top and name in self.readable}
        return out


def attribute(type_, required=False):
    return {'type': type_, 'required': required, 'optional': not required, 'computed': False}


def nested(attributes, blocks=None, least=0, most=1):
    return {'nesting': 'LIST', 'min': least, 'max': most,
            'block': {'attributes': attributes, 'block_types': blocks or {}}}


# The statement of a firewall rule can hold statements, so the classes call it `any`. These forms
# are written from the provider's documentation; any other is refused.
TEXT, NUMBER = '"string"', '"number"'
ACTION = nested({}, {'action_to_use': nested({}, {
    name: nested({}) for name in ('allow', 'block', 'count', 'captcha', 'challenge')}, 1)
}, most=0)
ACTION['block']['attributes']['name'] = attribute(TEXT, True)
STATEMENT = nested({}, {
    'managed_rule_group_statement': nested({
        'name': attribute(TEXT, True), 'vendor_name': attribute(TEXT, True),
        'version': attribute(TEXT)}, {'rule_action_override': ACTION}),
    'rate_based_statement': nested({
        'limit': attribute(NUMBER, True), 'aggregate_key_type': attribute(TEXT),
        'evaluation_window_sec': attribute(NUMBER)}),
}, 1)


def mend(resources):
    """Puts in what the classes do not say, and takes out what Terraform would not accept."""
    rule = resources['aws_wafv2_web_acl']['block_types']['rule']['block']
    del rule['attributes']['statement']
    rule['block_types']['statement'] = STATEMENT
    # `any` within a set is not a schema; nothing here uses this one.
    del resources['aws_wafv2_rule_group']


def convert(library):
    out = {'resource': {}, 'data': {}}
    for folder in sorted(library.iterdir()):
        if not (folder / 'index.d.ts').exists() or folder.name == 'provider':
            continue
        if 'tfResourceType' not in (folder / 'index.js').read_text():
            continue
        one = Class(folder)
        out['data' if folder.name.startswith('data-aws') else 'resource'][one.name] = one.schema()
    mend(out['resource'])
    return out


if __name__ == '__main__':
    schema = convert(Path(sys.argv[1]))
    Path(sys.argv[2]).write_text(json.dumps(schema))
    print(len(schema['resource']), 'resources,', len(schema['data']), 'data sources')
