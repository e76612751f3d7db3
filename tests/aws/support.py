"""What the checks share: where things are, and a Terraform that knows the provider without it."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / 'infrastructure'
# `./test` has put the schema and the generated protocol there.
WORK = Path(os.environ['AWS_WORK'])
PROVIDER = 'registry.terraform.io/hashicorp/aws'


def settings_environment():
    """RINGWAY_ names of the settings that this version does not have, by later.json."""
    later = json.loads((MODULE / 'later.json').read_text())
    return {'RINGWAY_' + key.upper().replace('.', '_') for key in later['settings']}


class Terraform:
    """The stock command line, attached to a provider that has the schema and no cloud."""

    def __enter__(self):
        socket = WORK / f'provider-{os.getpid()}.socket'
        socket.unlink(missing_ok=True)
        self.socket = socket
        self.provider = subprocess.Popen(
            [sys.executable, ROOT / 'tests/aws/provider/server.py', WORK / 'schema.json', socket],
            env={**os.environ, 'PYTHONPATH': str(WORK)}, stdout=subprocess.PIPE, text=True)
        line = self.provider.stdout.readline()
        if line != 'ready\n':
            raise RuntimeError(f'the provider did not start: {line!r}')
        attach = {PROVIDER: {
            'Protocol': 'grpc', 'ProtocolVersion': 5, 'Pid': self.provider.pid, 'Test': True,
            'Addr': {'Network': 'unix', 'String': str(socket)}}}
        self.environment = {
            **{name: it for name, it in os.environ.items() if not name.startswith('TF_')},
            'TF_REATTACH_PROVIDERS': json.dumps(attach), 'TF_CLI_CONFIG_FILE': os.devnull,
            'CHECKPOINT_DISABLE': '1', 'TF_IN_AUTOMATION': '1'}
        return self

    def __exit__(self, *_):
        self.provider.terminate()
        self.provider.wait(10)
        self.provider.stdout.close()
        self.socket.unlink(missing_ok=True)

    def run(self, *words, folder=MODULE, status=0, timeout=600):
        """What it printed, both streams together; its exit code must be `status`."""
        data = WORK / 'terraform' / str(folder.relative_to(folder.anchor)).replace('/', '-')
        done = subprocess.run(
            ['terraform', *words], cwd=folder, text=True, timeout=timeout,
            env={**self.environment, 'TF_DATA_DIR': str(data)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if status is not None and done.returncode != status:
            raise AssertionError(f'terraform {" ".join(words)} in {folder}: exit code '
                                 f'{done.returncode}\n{done.stdout}')
        return done.stdout

    def init(self, folder=MODULE):
        self.run('init', '-input=false', '-backend=false', '-no-color', folder=folder)

    def resources(self, variables, folder):
        """All resources by address, as they would be applied; `folder` takes a copy of nothing
        but the state."""
        state = folder / 'state.json'
        values = folder / 'values.tfvars.json'
        values.write_text(json.dumps(variables))
        state.unlink(missing_ok=True)
        self.run('apply', '-auto-approve', '-no-color', '-input=false', f'-state={state}',
                 f'-var-file={values}')
        document = json.loads(self.run('show', '-json', '-no-color', str(state)))
        root = document['values']['root_module']
        return {it['address']: it['values'] for it in root['resources']}
