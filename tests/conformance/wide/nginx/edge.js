// CloudFront and Cloud CDN as an edge would check them, written from their documentation for njs: nothing here comes from
// the signers that it judges. Each handler answers 200 or 403 with the reason.
import keys from 'keys.js';

const CLOUDFRONT = ['Expires', 'Policy', 'Signature', 'Key-Pair-Id', 'Hash-Algorithm'];

function now() {
    return Math.floor(Date.now() / 1000);
}

function answer(r, refusal) {
    r.headersOut['Content-Type'] = 'text/plain';
    r.return(refusal ? 403 : 200, refusal || 'let through');
}

function cookies(r) {
    const found = {};
    (r.headersIn.Cookie || '').split('; ').forEach(function (pair) {
        const at = pair.indexOf('=');
        if (at > 0) {
            found[pair.slice(0, at)] = pair.slice(at + 1);
        }
    });
    return found;
}

// The URL as it was sent, without CloudFront's own parameters, and these.
function taken(r) {
    const uri = r.variables.request_uri, at = uri.indexOf('?');
    const path = at < 0 ? uri : uri.slice(0, at);
    const own = {}, rest = [];
    (at < 0 ? [] : uri.slice(at + 1).split('&')).forEach(function (pair) {
        const name = pair.split('=')[0];
        if (CLOUDFRONT.indexOf(name) < 0) {
            rest.push(pair);
        } else {
            own[name] = pair.slice(name.length + 1);
        }
    });
    const url = 'https://' + r.headersIn.Host + path + (rest.length ? '?' + rest.join('&') : '');
    return { own: own, url: url };
}

function unsafe(text) {
    return Buffer.from(text.replace(/-/g, '+').replace(/_/g, '=').replace(/~/g, '/'), 'base64');
}

// An ASN.1 DER signature (two INTEGERs) as WebCrypto wants it: r and s, 32 bytes each.
function raw(der) {
    const out = Buffer.alloc(64);
    let at = 2;
    for (let part = 0; part < 2; part++) {
        const size = der[at + 1];
        const value = der.slice(at + 2, at + 2 + size);
        const from = Math.max(0, value.length - 32), to = 32 * part + 32 - (value.length - from);
        for (let i = from; i < value.length; i++) {
            out[to + i - from] = value[i];
        }
        at += 2 + size;
    }
    return out;
}

async function signed(key, hash, message, signature) {
    const name = key.kind === 'EC' ? 'ECDSA' : 'RSASSA-PKCS1-v1_5';
    const algorithm = key.kind === 'EC' ? { name: name, namedCurve: 'P-256' } : { name: name, hash: hash };
    const imported = await crypto.subtle.importKey('spki', Buffer.from(key.spki, 'base64'), algorithm, false, ['verify']);
    const how = key.kind === 'EC' ? { name: name, hash: hash } : { name: name };
    return await crypto.subtle.verify(how, imported, key.kind === 'EC' ? raw(signature) : signature, Buffer.from(message));
}

function matches(pattern, text) {
    let expression = '^';
    for (let i = 0; i < pattern.length; i++) {
        const c = pattern[i];
        if (c === '\\' && pattern[i + 1] === '?') {
            expression += '\\?';
            i++;
        } else if (c === '*') {
            expression += '.*';
        } else if (c === '?') {
            expression += '.';
        } else {
            expression += c.replace(/[.+^${}()|[\]\\\/]/, '\\$&');
        }
    }
    return new RegExp(expression + '$').test(text);
}

function inside(cidr, address) {
    const parts = cidr.split('/'), bits = parts[1] === undefined ? 32 : Number(parts[1]);
    function number(text) {
        return text.split('.').reduce(function (sum, part) { return sum * 256 + Number(part); }, 0);
    }
    const size = Math.pow(2, 32 - bits);
    return Math.floor(number(parts[0]) / size) === Math.floor(number(address) / size);
}

async function cloudfront(r) {
    const found = taken(r), jar = cookies(r);
    let own = found.own;
    if (!own.Signature) {
        own = {};
        CLOUDFRONT.forEach(function (name) { own[name] = jar['CloudFront-' + name]; });
    }
    if (!own.Signature || !own['Key-Pair-Id']) {
        return answer(r, 'unsigned');
    }
    const key = keys.cloudfront[own['Key-Pair-Id']];
    if (!key) {
        return answer(r, 'unknown key');
    }
    const policy = own.Policy ? unsafe(own.Policy).toString()
        : '{"Statement":[{"Resource":"' + found.url + '","Condition":{"DateLessThan":{"AWS:EpochTime":' + own.Expires + '}}}]}';
    const hash = own['Hash-Algorithm'] === 'SHA256' ? 'SHA-256' : 'SHA-1';
    if (!await signed(key, hash, policy, unsafe(own.Signature))) {
        return answer(r, 'signature');
    }
    const statement = JSON.parse(policy).Statement[0], condition = statement.Condition;
    if (own.Policy ? !matches(statement.Resource, found.url) : statement.Resource !== found.url) {
        return answer(r, 'resource');
    }
    if (now() >= condition.DateLessThan['AWS:EpochTime']) {
        return answer(r, 'expired');
    }
    if (condition.DateGreaterThan && now() < condition.DateGreaterThan['AWS:EpochTime']) {
        return answer(r, 'not yet');
    }
    if (condition.IpAddress && !inside(condition.IpAddress['AWS:SourceIp'], r.remoteAddress)) {
        return answer(r, 'address');
    }
    return answer(r);
}

async function macOf(text, secret) {
    const key = await crypto.subtle.importKey('raw', Buffer.from(secret, 'base64url'), { name: 'HMAC', hash: 'SHA-1' }, false, ['sign']);
    const value = await crypto.subtle.sign({ name: 'HMAC' }, key, Buffer.from(text));
    const base64url = Buffer.from(value).toString('base64url').replace(/=+$/, '');
    return base64url + '='.repeat((4 - base64url.length % 4) % 4);
}

async function cloudcdn(r) {
    const uri = r.variables.request_uri, url = 'https://' + r.headersIn.Host + uri;
    const cookie = cookies(r)['Cloud-CDN-Cookie'];
    const text = uri.indexOf('Signature=') < 0 && cookie ? cookie : uri.slice(uri.indexOf('?') + 1);
    const joint = text === cookie ? ':' : '&';
    const at = text.lastIndexOf(joint + 'Signature=');
    if (at < 0) {
        return answer(r, 'unsigned');
    }
    const fields = {};
    text.slice(0, at).split(joint).forEach(function (pair) {
        fields[pair.split('=')[0]] = pair.slice(pair.indexOf('=') + 1);
    });
    const secret = keys.cloudcdn[fields.KeyName];
    if (!secret) {
        return answer(r, 'unknown key');
    }
    let message = url.slice(0, url.lastIndexOf('&Signature='));
    if (fields.URLPrefix !== undefined) {
        message = text.slice(text.indexOf('URLPrefix='), at);
    }
    if (await macOf(message, secret) !== text.slice(at + 11)) {
        return answer(r, 'signature');
    }
    if (fields.URLPrefix !== undefined && !url.startsWith(Buffer.from(fields.URLPrefix, 'base64url').toString())) {
        return answer(r, 'resource');
    }
    if (now() >= Number(fields.Expires)) {
        return answer(r, 'expired');
    }
    return answer(r);
}

export default { cloudfront, cloudcdn };
