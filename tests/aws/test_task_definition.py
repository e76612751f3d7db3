"""The task definition: of each variant by the API's model and by our rules, and the one in JSON."""

import base64
import copy
import json
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import task_definition
from support import WORK, Terraform


class TaskDefinition(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        terraform = cls.enterClassContext(Terraform())
        folder = cls.enterClassContext(tempfile.TemporaryDirectory(dir=WORK))
        terraform.init()
        cls.variants = {}
        for compute in ('fargate', 'ec2', 'managed_instances'):
            for balancer, chosen in task_definition.BALANCERS.items():
                cls.variants[compute, balancer] = terraform.resources(
                    {**task_definition.COMMON, **chosen, 'compute': compute}, Path(folder))

    def test_every_variant_is_what_the_api_takes_and_what_we_want(self):
        for variant, resources in self.variants.items():
            with self.subTest(variant=variant):
                request = task_definition.of_resources(resources)
                self.assertEqual(task_definition.wrong_by_model(request), [])
                self.assertEqual(task_definition.wrong_by_rule(request), [])

    def test_the_json_is_what_terraform_makes(self):
        request = task_definition.of_resources(self.variants['fargate', 'alb'])
        self.assertEqual(
            json.loads(task_definition.FILE.read_text()), request,
            'write it anew: `./test --write-task-definition`')

    def test_the_model_notices(self):
        good = json.loads(task_definition.FILE.read_text())
        self.assertEqual(task_definition.wrong_by_model(good), [])
        container = good['containerDefinitions'][0]
        for change in ({'stopTimout': 1}, {'stopTimeout': '120'},
                       {'ulimits': [{'name': 'files', 'softLimit': 1, 'hardLimit': 1}]},
                       {'logConfiguration': {'logDriver': 'stdout'}}):
            with self.subTest(change):
                bad = {**good, 'containerDefinitions': [{**container, **change}]}
                self.assertEqual(len(task_definition.wrong_by_model(bad)), 1)

    def test_each_rule_notices(self):
        good = json.loads(task_definition.FILE.read_text())
        self.assertEqual(task_definition.wrong_by_rule(good), [])
        changes = [
            ('memory', lambda it, c: it.update(memory='1024')),
            ('network', lambda it, c: it.update(networkMode='bridge')),
            ('controls', lambda it, c: c['systemControls'].append(
                {'namespace': 'net.core.netdev_max_backlog', 'value': '65536'})),
            ('files', lambda it, c: c['ulimits'][0].update(softLimit=20999, hardLimit=20999)),
            ('stop', lambda it, c: c.update(stopTimeout=115)),
            ('drain', lambda it, c: [e.update(value='120s') for e in c['environment']
                                     if e['name'] == 'RINGWAY_DRAIN_DEADLINE']),
            ('no drain', lambda it, c: [e.update(name='RINGWAY_DRAIN') for e in c['environment']
                                        if e['name'] == 'RINGWAY_DRAIN_DEADLINE']),
            ('shell', lambda it, c: c['healthCheck'].update(command=['CMD-SHELL', 'true'])),
            ('root', lambda it, c: c.update(user='0')),
            ('read-only', lambda it, c: c.update(readonlyRootFilesystem=False)),
            ('capabilities', lambda it, c: c.pop('linuxParameters')),
            ('privileged', lambda it, c: c.update(privileged=True)),
            ('log', lambda it, c: c['logConfiguration']['options'].pop('mode')),
            ('arn', lambda it, c: c['secrets'].append(
                {'name': 'A', 'valueFrom': 'arn:aws:secretsmanager:us-east-1:123456789012'
                                           ':secret:websocket/db-password'})),
            ('secret', lambda it, c: c['environment'].append(
                {'name': 'DB_PASSWORD', 'value': 'x'})),
            ('image', lambda it, c: c.update(image='ringway:latest')),
        ]
        for name, change in changes:
            with self.subTest(name):
                bad = copy.deepcopy(good)
                change(bad, bad['containerDefinitions'][0])
                self.assertEqual(len(task_definition.wrong_by_rule(bad)), 1,
                                 task_definition.wrong_by_rule(bad))

    def test_hosts_are_prepared_by_a_script_that_parses(self):
        resources = self.variants['ec2', 'alb']
        script = base64.b64decode(
            resources['aws_launch_template.hosts[0]']['user_data']).decode()
        self.assertTrue(script.startswith('#!/bin/bash\n'), script[:200])
        self.assertLess(len(script), 16384)
        checked = subprocess.run(['bash', '-n'], input=script, text=True, capture_output=True)
        self.assertEqual((checked.returncode, checked.stderr), (0, ''))
        documents = re.findall(r"<<'JSON'\n(.*?)\nJSON\n", script, re.S)
        self.assertEqual(len(documents), 2)
        profile, daemon = (json.loads(it) for it in documents)
        self.assertEqual(daemon['seccomp-profile'], '/etc/docker/ringway-seccomp.json')
        # What Amazon Linux gives Docker as a flag must not be there: Docker would not start.
        self.assertEqual(list(daemon), ['seccomp-profile'])
        raised = re.search(r'^  sed (.*) /etc/sysconfig/docker$', script, re.M).group(1)
        for flag in ('nofile=32768:65536', 'nofile=1024:4096'):
            told = subprocess.run(
                ['bash', '-c', f'sed {raised.removeprefix("-i ")}'], check=True, text=True,
                input=f'OPTIONS="--default-ulimit {flag}"\n', capture_output=True).stdout
            self.assertEqual(told, 'OPTIONS="--default-ulimit nofile=1048576:1048576"\n')
        self.assertEqual(profile['defaultAction'], 'SCMP_ACT_ERRNO')
        self.assertIn('\nfs.nr_open = 2097152\n', script)

    def test_what_the_task_is_given_is_what_it_may_read(self):
        """The execution role reads the secrets of its task, each and no other."""
        for variant, resources in self.variants.items():
            with self.subTest(variant=variant):
                document = resources['data.aws_iam_policy_document.execution']
                actions = {action: it['resources'] for it in document['statement']
                           for action in it['actions']}
                # Redis, MySQL, and the certificate of the nlb variant.
                count = 3 if variant[1] == 'nlb' else 2
                self.assertEqual(len(actions['secretsmanager:GetSecretValue']), count)
                stars = {action for action, of in actions.items() if '*' in of}
                self.assertEqual(stars, {'ecr:GetAuthorizationToken'})

    def test_alarms_are_what_the_api_takes(self):
        for variant, resources in self.variants.items():
            alarms = {name: it for name, it in resources.items()
                      if name.startswith('aws_cloudwatch_metric_alarm.')}
            self.assertGreater(len(alarms), 12)
            for name, it in alarms.items():
                with self.subTest(variant=variant, alarm=name):
                    request = {
                        'AlarmName': it['alarm_name'],
                        'ComparisonOperator': it['comparison_operator'],
                        'EvaluationPeriods': it['evaluation_periods'],
                        'DatapointsToAlarm': it['datapoints_to_alarm'],
                        'Threshold': float(it['threshold']),
                        'TreatMissingData': it['treat_missing_data'],
                    }
                    if not it['metric_query']:
                        request['MetricName'] = it['metric_name']
                        request['Namespace'] = it['namespace']
                        request['Period'] = it['period']
                        request['Dimensions'] = [
                            {'Name': key, 'Value': value} for key, value
                            in it['dimensions'].items()]
                        if it['statistic'] and not it['extended_statistic']:
                            request['Statistic'] = it['statistic']
                        self.assertTrue(it['dimensions'])
                    self.assertEqual(
                        task_definition.wrong_by_model(request, 'PutMetricAlarm', 'cloudwatch'),
                        [])
                    self.assertLessEqual(it['datapoints_to_alarm'], it['evaluation_periods'])

    def test_the_dashboard_is_one(self):
        for variant, resources in self.variants.items():
            with self.subTest(variant=variant):
                body = json.loads(resources['aws_cloudwatch_dashboard.main']['dashboard_body'])
                self.assertEqual(len(body['widgets']), 14)
                places = {(it['x'], it['y']) for it in body['widgets']}
                self.assertEqual(len(places), len(body['widgets']))
                for widget in body['widgets']:
                    for metric in widget['properties']['metrics']:
                        names = [it for it in metric if isinstance(it, str)]
                        # Namespace, name, then dimensions in pairs.
                        self.assertEqual(len(names) % 2, 0, metric)
                        self.assertGreaterEqual(len(names), 4, metric)


if __name__ == '__main__':
    unittest.main()
