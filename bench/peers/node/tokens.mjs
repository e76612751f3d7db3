// Tokens for the storms of auth-storm.toml: `node tokens.mjs FOLDER COUNT`. Makes a P-256 key pair
// and writes its public half (jwks.json), COUNT tokens that it signed (valid.txt) and COUNT that
// another key signed under its name (rejected.txt). They hold for a day.
import { createSign, generateKeyPairSync } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [folder, wanted] = process.argv.slice(2);
const count = Number(wanted);
if (!folder || !Number.isInteger(count) || count < 1) {
  console.error('usage: node tokens.mjs FOLDER COUNT');
  process.exit(2);
}

const kid = 'bench';
const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const head = encoded({ alg: 'ES256', typ: 'JWT', kid });
const exp = Math.floor(Date.now() / 1000) + 24 * 3600;

function token(key, number) {
  const signed = `${head}.${encoded({ sub: `user-${number}`, exp })}`;
  const signature = createSign('SHA256').update(signed).sign({ key, dsaEncoding: 'ieee-p1363' });
  return `${signed}.${signature.toString('base64url')}`;
}

function tokens(key) {
  return Array.from({ length: count }, (_, number) => token(key, number)).join('\n') + '\n';
}

const ours = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const theirs = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const jwk = { ...ours.publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' };
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, 'jwks.json'), JSON.stringify({ keys: [jwk] }));
writeFileSync(join(folder, 'valid.txt'), tokens(ours.privateKey));
writeFileSync(join(folder, 'rejected.txt'), tokens(theirs.privateKey));
