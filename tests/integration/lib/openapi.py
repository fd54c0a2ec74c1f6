# SPDX-License-Identifier: Apache-2.0
"""The document of the API: its examples as requests, and whether an answer is one of those that it describes."""

import json
import re
from urllib.parse import quote

import jsonschema

from lib import places

FILE = f"{places.SOURCE}/userspace/agent/api/openapi.json"
JSON, LINES = "application/json", "application/x-ndjson"


class Document:
    def __init__(self, text):
        self.whole = json.loads(text)
        self.resolved, self.validators = {}, {}  # by the id of a part of the document

    def resolve(self, part):
        """What it refers to, with what stands beside the reference."""
        if "$ref" not in part:
            return part
        if id(part) not in self.resolved:
            found = self.whole
            for each in part["$ref"].removeprefix("#/").split("/"):
                found = found[each]
            self.resolved[id(part)] = {**self.resolve(found), **{key: value for key, value in part.items() if key != "$ref"}}
        return self.resolved[id(part)]

    def operations(self):
        return [(method.upper(), path, each) for path, item in self.whole["paths"].items() for method, each in item.items()]

    def operation(self, method, path):
        return self.whole["paths"][path][method.lower()]

    def response(self, operation, status):
        return self.resolve(operation["responses"].get(str(status), {"description": "none"}))

    # Examples

    def examples(self):
        """name -> Example, in the order in which they are to be sent."""
        found = {}
        for method, path, operation in self.operations():
            for status, response in operation["responses"].items():
                for media, content in self.resolve(response).get("content", {}).items():
                    for name, each in content.get("examples", {}).items():
                        assert name not in found, f"{name} has two answers"
                        found[name] = Example(name, method, path, operation, int(status), media, each["value"])
        return {name: found.pop(name) for name in self.whole["x-examples"]} | found

    # Answers

    def errors(self, schema, value):
        """Where value, an answer, is not as the schema says, or has something that it does not say."""
        if id(schema) not in self.validators:
            self.validators[id(schema)] = jsonschema.Draft202012Validator(self.closed(schema))
        return [f"{'/'.join(map(str, each.absolute_path))}: {each.message[:300]}" for each in self.validators[id(schema)].iter_errors(value)]

    def closed(self, schema, within=False):
        """The same without references, with nothing beside its members. within: the one around it says that."""
        schema = self.resolve(schema)
        made = {}
        for key, value in schema.items():
            if key in ("allOf", "oneOf", "anyOf"):
                made[key] = [self.closed(each, within or key == "allOf") for each in value]
            elif key == "properties":
                made[key] = {name: self.closed(each) for name, each in value.items()}
            elif key in ("items", "additionalProperties") and isinstance(value, dict):
                made[key] = self.closed(value)
            else:
                made[key] = value
        if not within and ("allOf" in schema or "properties" in schema):
            made["unevaluatedProperties"] = False
        return made

    def differences(self, schema, example, value, where=""):
        """Where value is not the example, but for what varies."""
        parts, varies = self.parts(schema, value)
        if varies is True or (isinstance(varies, str) and re.search(varies, str(example)) and re.search(varies, str(value))):
            return []
        if isinstance(example, dict) and isinstance(value, dict):
            members = {name: each for part in parts for name, each in part.get("properties", {}).items()}
            more = next((part["additionalProperties"] for part in parts if isinstance(part.get("additionalProperties"), dict)), {})
            return [each for name in {**example, **value}
                    for each in (self.differences(members.get(name, more), example[name], value[name], f"{where}/{name}")
                                 if name in example and name in value else [f"{where}/{name} is not in both"])]
        if isinstance(example, list) and isinstance(value, list) and len(example) == len(value):
            items = next((part["items"] for part in parts if "items" in part), {})
            return [each for n, pair in enumerate(zip(example, value)) for each in self.differences(items, *pair, f"{where}/{n}")]
        return [] if example == value else [f"{where} is {json.dumps(value)}, not {json.dumps(example)}"]

    def parts(self, schema, value):
        """All schemas that say something of value, and whether it varies."""
        schema = self.resolve(schema)
        found, varies = [schema], schema.get("x-varies")
        chosen = [each for key in ("oneOf", "anyOf") for each in schema.get(key, []) if not self.errors(each, value)][:1]
        for each in schema.get("allOf", []) + chosen:
            parts, also = self.parts(each, value)
            found += parts
            varies = varies or also
        return found, varies

    def check(self, method, path, status, media, body):
        """Asserts that it may be an answer; the answer as a value."""
        operation = self.operation(method, path)
        what = (method, path, status, body[:2000])
        assert str(status) in operation["responses"], ("not a status of it", what)
        content = self.response(operation, status)["content"]
        assert media in content, ("not a type of it", media, what)
        schema = content[media]["schema"]
        value = decode(media, body)
        if media == JSON:
            assert not self.errors(schema, value), (self.errors(schema, value), what)
        elif media == LINES:
            for line in value:
                assert not self.errors(schema["contentSchema"], line), (self.errors(schema["contentSchema"], line), line)
        if status >= 400:
            (known,) = [each for each in self.whole["components"]["schemas"]["ErrorCode"]["oneOf"] if each["const"] == value["code"]]
            assert known["x-status"] == status, what
        return schema, value

    def compare(self, example, media, body):
        schema, value = self.check(example.method, example.path, example.status, media, body)
        if media == LINES and not self.resolve(schema["contentSchema"]).get("x-varies"):
            return [each for pair in zip(decode(media, example.answer.encode()), value, strict=True)
                    for each in self.differences(schema["contentSchema"], *pair)]
        return [] if media == LINES else self.differences(schema, example.answer, value)


def decode(media, body):
    if media == JSON:
        return json.loads(body)
    return [json.loads(line) for line in body.splitlines()] if media == LINES else body.decode()


class Example:
    def __init__(self, name, method, path, operation, status, media, answer):
        self.name, self.method, self.path, self.status, self.media, self.answer = name, method, path, status, media, answer
        given = [(each, each["examples"][name]["value"]) for each in operation.get("parameters", []) if name in each.get("examples", {})]
        self.target = path
        query = []
        self.headers = {"Accept": LINES} if media == LINES else {}
        for parameter, value in given:
            if parameter["in"] == "path":
                self.target = self.target.replace(f"{{{parameter['name']}}}", quote(str(value), safe=""))
            elif parameter["in"] == "header":
                self.headers[parameter["name"]] = value
            elif value == "" and parameter.get("allowEmptyValue"):
                query.append(parameter["name"])
            else:
                query.append(f"{parameter['name']}={quote(json.dumps(value) if isinstance(value, bool) else str(value), safe='')}")
        assert "{" not in self.target, f"{name} does not say all of the path"
        self.target += ("?" if query else "") + "&".join(query)
        self.body = None
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            if name in content.get("examples", {}):
                value = content["examples"][name]["value"]
                self.body = json.dumps(value).encode() if kind == JSON else value.encode()
                self.headers["Content-Type"] = kind

    def send(self, api):
        """(status, media type, body, headers)"""
        reply = api.request(self.method, self.target, self.body, self.headers)
        return reply.status, reply.headers["Content-Type"], reply.body, reply.headers
