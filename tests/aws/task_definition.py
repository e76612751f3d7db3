"""The task definition as RegisterTaskDefinition takes it, from Terraform, and the rules for one.

Run as a program it writes infrastructure/ecs-task-definition.json anew.
"""

import json
import re
import sys
import tempfile
from pathlib import Path

import botocore.session
import botocore.validate

from support import MODULE, WORK, Terraform

FILE = MODULE / 'ecs-task-definition.json'

# Those that exist in the network namespace of a container; with any other it does not start.
SYSTEM_CONTROLS = {
    'net.core.somaxconn', 'net.ipv4.ip_local_port_range', 'net.ipv4.ip_unprivileged_port_start',
    'net.ipv4.tcp_fin_timeout', 'net.ipv4.tcp_keepalive_intvl', 'net.ipv4.tcp_keepalive_probes',
    'net.ipv4.tcp_keepalive_time', 'net.ipv4.tcp_max_syn_backlog', 'net.ipv4.tcp_max_tw_buckets',
    'net.ipv4.tcp_notsent_lowat', 'net.ipv4.tcp_retries2', 'net.ipv4.tcp_rmem',
    'net.ipv4.tcp_slow_start_after_idle', 'net.ipv4.tcp_syncookies', 'net.ipv4.tcp_tw_reuse',
    'net.ipv4.tcp_wmem',
}
FARGATE_MEMORY = {
    256: [512, 1024, 2048], 512: range(1024, 4097, 1024), 1024: range(2048, 8193, 1024),
    2048: range(4096, 16385, 1024), 4096: range(8192, 30721, 1024),
    8192: range(16384, 61441, 4096), 16384: range(32768, 122881, 8192),
}
SECRET = re.compile(
    r'arn:aws:secretsmanager:[a-z0-9-]+:\d{12}:secret:[\w/-]+-[A-Za-z0-9]{6}(:\w*:\w*:\w*)?')

ACCOUNT, REGION = '123456789012', 'us-east-1'
IMAGE = f'{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/websocket-service:0.1.0'
COMMON = {
    'image': IMAGE,
    'auth': {'jwks_url': 'https://login.example.com/keys'},
    'network': {'vpc_id': 'vpc-1', 'vpc_cidr': '10.40.0.0/16',
                'public_subnet_ids': ['subnet-a', 'subnet-b'],
                'private_subnet_ids': ['subnet-c', 'subnet-d']},
    'database': {'enabled': True},
}
BALANCERS = {
    'alb': {'balancer': 'alb',
            'certificate_arn': f'arn:aws:acm:{REGION}:{ACCOUNT}:certificate/0'},
    'nlb': {'balancer': 'nlb',
            'tls_secret_arn': f'arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:tls-AbCdEf'},
}
# What AWS would have answered, in the place of what our provider makes up.
ANSWERS = [
    ('made-up-aws_region-region', REGION),
    ('made-up-aws_elasticache_replication_group-primary_endpoint_address',
     'master.websocket-service-relay.abc123.use1.cache.amazonaws.com'),
    ('made-up-aws_db_instance-address', 'websocket-service-history.abc123.rds.amazonaws.com'),
]


def of_resources(resources):
    """The request that registers the task definition among `resources`."""
    it = resources['aws_ecs_task_definition.main']
    text = re.sub(r'made-up-aws_secretsmanager_secret-arn-([\w/-]+)-(?=[:"])',
                  rf'arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:\1-AbCdEf',
                  it['container_definitions'])
    for made_up, answer in ANSWERS:
        text = text.replace(made_up, answer)
    request = {
        'family': it['family'],
        'networkMode': it['network_mode'],
        'requiresCompatibilities': sorted(it['requires_compatibilities']),
        'cpu': str(it['cpu']),
        'memory': str(it['memory']),
        'runtimePlatform': {
            'cpuArchitecture': it['runtime_platform'][0]['cpu_architecture'],
            'operatingSystemFamily': it['runtime_platform'][0]['operating_system_family']},
        'executionRoleArn': f'arn:aws:iam::{ACCOUNT}:role/websocket-service-exec',
        'taskRoleArn': f'arn:aws:iam::{ACCOUNT}:role/websocket-service-task',
        'containerDefinitions': json.loads(text),
    }
    if it['volume']:
        request['volumes'] = [{'name': volume['name']} for volume in it['volume']]
    return request


def wrong_by_model(request, operation='RegisterTaskDefinition', service='ecs'):
    """What botocore's model of the API says against it, enumerations included."""
    model = botocore.session.get_session().get_service_model(service)
    shape = model.operation_model(operation).input_shape
    report = botocore.validate.ParamValidator().validate(request, shape)
    found = [report.generate_report()] if report.has_errors() else []
    return found + list(wrong_words(request, shape, operation))


def wrong_words(value, shape, path):
    if shape.type_name == 'structure' and isinstance(value, dict):
        for name, member in shape.members.items():
            if name in value:
                yield from wrong_words(value[name], member, f'{path}.{name}')
    elif shape.type_name == 'list' and isinstance(value, list):
        for index, item in enumerate(value):
            yield from wrong_words(item, shape.member, f'{path}[{index}]')
    elif getattr(shape, 'enum', None) and value not in shape.enum:
        yield f'{path}: {value!r} is none of {shape.enum}'


def wrong_by_rule(request):
    """What our own rules say against it: what AWS refuses late, or does not refuse at all."""
    found = []

    def rule(holds, text):
        if not holds:
            found.append(text)

    kinds = request['requiresCompatibilities']
    cpu, memory = int(request['cpu']), int(request['memory'])
    if 'FARGATE' in kinds:
        rule(memory in FARGATE_MEMORY.get(cpu, []), f'Fargate has no {cpu} CPU with {memory} MiB')
    rule(request['networkMode'] == 'awsvpc', 'tasks need a network of their own')
    containers = request['containerDefinitions']
    tuned = [it for it in containers if it.get('systemControls')]
    rule(len(tuned) == 1, 'kernel settings are the task\'s: one container sets them')
    main, = [it for it in containers if it.get('essential', True)]
    rule(tuned == [main], 'the server sets the kernel settings')

    keys = {it['namespace'] for it in main.get('systemControls', [])}
    rule(keys <= SYSTEM_CONTROLS, f'not in a container: {sorted(keys - SYSTEM_CONTROLS)}')
    environment = {it['name']: it['value'] for it in main.get('environment', [])}
    connections = int(environment.get('RINGWAY_LIMITS_CONNECTIONS', 0))
    files = [it for it in main.get('ulimits', []) if it['name'] == 'nofile']
    rule(len(files) == 1 and connections + 1000 <= files[0]['softLimit']
         and files[0]['softLimit'] <= files[0]['hardLimit'] <= 1048576 and 0 < connections,
         'nofile must be at least limits.connections + 1000, at most 1048576')

    rule(main.get('stopTimeout') == 120, 'stopTimeout must be 120, the most of Fargate')
    deadline = environment.get('RINGWAY_DRAIN_DEADLINE', 'never')
    rule(re.fullmatch(r'\d+s', deadline) and int(deadline[:-1]) < main.get('stopTimeout', 30),
         'the drain must end before the kill')
    rule(main.get('healthCheck', {}).get('command', [''])[0] == 'CMD',
         'the image has no shell for CMD-SHELL')
    rule(main.get('readonlyRootFilesystem') is True, 'the root must be read-only')
    rule(main.get('user', '0').split(':')[0] not in ('', '0', 'root'), 'not as root')
    rule(main.get('linuxParameters', {}).get('capabilities', {}).get('drop') == ['ALL'],
         'capabilities must be dropped')
    rule(not main.get('privileged'), 'never privileged')

    for container in containers:
        name = container['name']
        log = container.get('logConfiguration', {})
        options = log.get('options', {})
        rule(log.get('logDriver') == 'awslogs' and options.get('mode') == 'non-blocking'
             and options.get('max-buffer-size') == '25m',
             f'{name}: metrics are log lines, so awslogs, non-blocking, 25m')
        for secret in container.get('secrets', []):
            rule(SECRET.fullmatch(secret['valueFrom']),
                 f'{name}: {secret["name"]} needs the full ARN, not {secret["valueFrom"]}')
        for it in container.get('environment', []):
            rule(not re.search('PASSWORD|SECRET|TOKEN', it['name']),
                 f'{name}: {it["name"]} is a secret')
        rule(not container['image'].endswith(':latest') and ':' in container['image'],
             f'{name}: the image needs a tag that is not moved')
    return found


def expected(terraform, folder):
    resources = terraform.resources({**COMMON, **BALANCERS['alb']}, folder)
    return of_resources(resources)


def text_of(request):
    return json.dumps(request, indent=2) + '\n'


if __name__ == '__main__':
    with Terraform() as terraform, tempfile.TemporaryDirectory(dir=WORK) as folder:
        terraform.init()
        FILE.write_text(text_of(expected(terraform, Path(folder))))
    print('written:', FILE.name, file=sys.stderr)
