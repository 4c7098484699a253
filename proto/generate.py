"""Makes proto/gen from proto/tria: Python stubs with types, and the descriptor set that Envoy reads.

Run by `make proto`. The google/* protos come from the installed googleapis-common-protos, buf/validate from the
descriptor inside the protovalidate wheel; neither is copied into the source tree. `--check` generates into a
temporary folder and fails when proto/gen differs.
"""

from __future__ import annotations

import argparse
import importlib.resources
import os
import shutil
import sys
import tempfile
from pathlib import Path

import google.api
from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

PROTO = Path(__file__).parent
GEN = PROTO / "gen"
VALIDATE = "buf/validate/validate.proto"


def write_validate_descriptors(target: Path) -> None:
    """Writes the descriptors of buf/validate/validate.proto and of what it imports."""
    files = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    files.file.add().ParseFromString(validate_pb.desc().proto.to_binary())
    target.write_bytes(files.SerializeToString(deterministic=True))


def run_protoc(arguments: list[str]) -> None:
    """Runs protoc as grpcio-tools brings it; exits with its code when it fails."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where its plugins are
    if code := protoc.main(["protoc", *arguments]):
        sys.exit(code)


def sources() -> list[str]:
    return sorted(str(path.relative_to(PROTO)) for path in (PROTO / "tria").rglob("*.proto"))


def generate(out: Path, validate: Path) -> None:
    """Writes everything that proto/gen holds into `out`."""
    google_protos = Path(google.api.__path__[0]).parents[1]
    well_known = str(importlib.resources.files("grpc_tools") / "_proto")
    include = [f"-I{PROTO}", f"-I{google_protos}", f"-I{well_known}", f"--descriptor_set_in={validate}"]
    stubs = [f"--python_out={out}", f"--mypy_out=quiet:{out}"]
    run_protoc([f"--descriptor_set_in={validate}", *stubs, VALIDATE])
    services = [name for name in sources() if name.endswith("_service.proto")]
    run_protoc([*include, *stubs, *sources()])
    run_protoc([*include, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *services])
    run_protoc([*include, "--include_imports", f"--descriptor_set_out={out / 'tria.binpb'}", *sources()])
    for package in ("buf/validate", "tria"):
        (out / package / "py.typed").touch()


def image(target: Path) -> None:
    """Writes an image with source information for `buf lint` and `buf breaking`."""
    with tempfile.TemporaryDirectory() as folder:
        validate = Path(folder) / "validate.binpb"
        write_validate_descriptors(validate)
        google_protos = Path(google.api.__path__[0]).parents[1]
        well_known = str(importlib.resources.files("grpc_tools") / "_proto")
        run_protoc([
            f"-I{PROTO}", f"-I{google_protos}", f"-I{well_known}", f"--descriptor_set_in={validate}",
            "--include_imports", "--include_source_info", f"--descriptor_set_out={target}", *sources(),
        ])  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` by its relative path, without what Python caches there."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def differences(made: dict[str, bytes], kept: dict[str, bytes]) -> list[str]:
    """The names of files that are missing, left over or different."""
    return sorted(name for name in made.keys() | kept.keys() if made.get(name) != kept.get(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether proto/gen is fresh")
    parser.add_argument("--image", type=Path, help="only write a buf image to this file")
    arguments = parser.parse_args()
    if arguments.image:
        image(arguments.image)
        return
    with tempfile.TemporaryDirectory() as folder:
        validate, out = Path(folder) / "validate.binpb", Path(folder) / "gen"
        out.mkdir()
        write_validate_descriptors(validate)
        generate(out, validate)
        if arguments.check:
            if stale := differences(contents(out), contents(GEN)):
                sys.exit(f"proto/gen is not what `make proto` makes: {', '.join(stale)}")
            return
        shutil.rmtree(GEN, ignore_errors=True)
        shutil.copytree(out, GEN)


if __name__ == "__main__":
    main()
