"""The demonstration's object store, as this machine reaches it.

python -m hack.demo.storage prepare                     make the buckets; `churn` keeps every version
python -m hack.demo.storage put FILE s3://bucket/key    put a file, print its version
"""

import argparse
import base64
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from hack.demo.kube import kubectl_json, wait_until

NAMESPACE = "churn-neighbours"
DATA = "churn"
BUCKETS = (DATA, "models", "mlflow")


class ObjectStore:
    """What is put where the operator's Jobs find it."""

    def __init__(self) -> None:
        secret = kubectl_json("-n", NAMESPACE, "get", "secret", "object-store")["data"]
        service = kubectl_json("-n", NAMESPACE, "get", "service", "object-store")["spec"]
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://{service['clusterIP']}:{service['ports'][0]['port']}",
            aws_access_key_id=base64.b64decode(secret["AWS_ACCESS_KEY_ID"]).decode(),
            aws_secret_access_key=base64.b64decode(secret["AWS_SECRET_ACCESS_KEY"]).decode(),
            region_name=base64.b64decode(secret["AWS_REGION"]).decode(),
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 10, "mode": "standard"},
            ),
        )

    def prepare(self) -> None:
        """Make the buckets; the store's pod may be ready before the Service's address leads to it."""
        heard: list[str] = []

        def buckets() -> list[str] | None:
            try:
                return ["", *(bucket["Name"] for bucket in self.client.list_buckets()["Buckets"])]
            except (BotoCoreError, ClientError) as error:
                heard.append(str(error))
                return None

        have = wait_until("an answer of the object store", buckets, seconds=60, diagnose=lambda: heard[-1])
        for bucket in BUCKETS:
            if bucket not in have:
                self.client.create_bucket(Bucket=bucket)
        self.client.put_bucket_versioning(Bucket=DATA, VersioningConfiguration={"Status": "Enabled"})

    def put(self, file: Path, uri: str) -> str:
        """Put the file, and return the version the store gave it; empty where the bucket keeps none."""
        target = urlsplit(uri)
        with file.open("rb") as body:
            answer = self.client.put_object(Bucket=target.netloc, Key=target.path.lstrip("/"), Body=body)
        return str(answer.get("VersionId", ""))

    def get(self, uri: str) -> bytes:
        target = urlsplit(uri)
        body: bytes = self.client.get_object(Bucket=target.netloc, Key=target.path.lstrip("/"))["Body"].read()
        return body

    def list(self, folder: str) -> list[str]:
        """The addresses below a folder."""
        target = urlsplit(folder)
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=target.netloc, Prefix=target.path.lstrip("/")
        )
        return [f"s3://{target.netloc}/{entry['Key']}" for page in pages for entry in page.get("Contents", ())]

    def remove(self, uri: str) -> None:
        target = urlsplit(uri)
        self.client.delete_object(Bucket=target.netloc, Key=target.path.lstrip("/"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare")
    put = commands.add_parser("put")
    put.add_argument("file", type=Path)
    put.add_argument("uri")
    arguments = parser.parse_args()
    store = ObjectStore()
    if arguments.command == "prepare":
        store.prepare()
    else:
        print(store.put(arguments.file, arguments.uri))


if __name__ == "__main__":
    main()
