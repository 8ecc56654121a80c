"""Build with setuptools, including the C extension where there is a compiler.

pyproject.toml names this file as the build backend, because setup.cfg cannot list extensions.
"""
from setuptools import Extension, build_meta, setup

NATIVE = Extension("pushserver._native",
                   ["pushserver/native/native.c", "pushserver/native/tls.c"],
                   depends=["pushserver/native/tls.h"], optional=True)


class _Backend(build_meta._BuildMetaBackend):  # type: ignore[misc]
    def run_setup(self, setup_script: str = "setup.py") -> None:
        """Set up as setup.cfg says, with the extension, as a setup.py would do."""
        setup(ext_modules=[NATIVE])


_backend = _Backend()
get_requires_for_build_wheel = _backend.get_requires_for_build_wheel
get_requires_for_build_sdist = _backend.get_requires_for_build_sdist
get_requires_for_build_editable = _backend.get_requires_for_build_editable
prepare_metadata_for_build_wheel = _backend.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = _backend.prepare_metadata_for_build_editable
build_wheel = _backend.build_wheel
build_sdist = _backend.build_sdist
build_editable = _backend.build_editable
