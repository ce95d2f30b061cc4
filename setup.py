"""Package set-up. Every dependency says why it is here."""

import re

from setuptools import find_packages, setup

with open("gllmm_tf/__init__.py", encoding="utf-8") as f:
    VERSION = re.search(r'__version__ = "(.+?)"', f.read()).group(1)
with open("README.md", encoding="utf-8") as f:
    README = f.read()

# Where tensorflow-compression's operations have wheels (docs/architecture.md#tensorflow-and-keras);
# everywhere else the portable backend does the work.
TF_2_14 = "; python_version < '3.12' and platform_machine == 'x86_64'"  # not Windows: AMD64 there
TF_2_17 = "; python_version == '3.12' and platform_machine == 'x86_64' and sys_platform == 'linux'"
TENSORFLOW = [
    "tensorflow>=2.14.1,<2.15" + TF_2_14,  # gradients; tensorflow-compression needs exactly this
    "tensorflow-compression>=2.14.1,<2.15" + TF_2_14,  # range coder
    "tensorflow-probability>=0.22,<0.23" + TF_2_14,  # for it; newer ones need a newer TensorFlow
    "tensorflow>=2.17,<2.18" + TF_2_17,  # tensorflow-compression-ops needs exactly this
    "tensorflow-compression-ops>=2.17,<2.18" + TF_2_17,  # range coder
    "tf-keras>=2.17,<2.18" + TF_2_17,  # Keras 2, which TensorFlow 2.17 does not bring
]

setup(
    name="gllmm_tf",
    version=VERSION,
    description="Learned image compression with Gaussian-Laplacian-logistic mixtures in TensorFlow",
    long_description=README,
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Multimedia :: Graphics",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: System :: Archiving :: Compression",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["gllmm_tf", "gllmm_tf.*"]),
    package_data={
        "gllmm_tf": [
            "py.typed",
            "zoo/weights/*.npz",
            "coding/*.npz",
            "serve/page.html",
            "cli/compare.html",
        ],
        "gllmm_tf.desktop": ["gllmm.*"],
    },
    python_requires=">=3.9",
    install_requires=[
        *TENSORFLOW,
        "numpy>=1.23.5,<3",  # arrays
        "onnxruntime>=1.16,<2",  # the transforms of the portable backend
        "pillow>=10.1,<14",  # reading and writing pictures
        "absl-py>=1.4,<3",  # flags of the scripts
        "tqdm>=4.60,<5",  # progress bars
        "threadpoolctl>=3.1,<4",  # one BLAS thread for the small products of portable coding
    ],
    extras_require={
        "tensorflow": TENSORFLOW,  # named in errors where it is missing
        "experiments": [
            "scipy>=1.9,<2",  # PCHIP for BD-rates, distributions of the originals' loop
            "matplotlib>=3.5,<4",  # plots
        ],
        "codecs": [
            "imagecodecs>=2023.1.23,<2028",  # JPEG XL in experiments/rate_distortion/rate_distortion.py
            "pillow-heif>=0.13,<2",  # HEIF there; imagecodecs' wheels come without it
        ],
        "formats": [
            "pillow>=11.3,<14",  # AVIF, which its wheels hold since then
            "pillow-heif>=0.22,<2",  # HEIC
            # JPEG XL; 1.3.4 is the last with wheels for Python 3.9
            "pillow-jxl-plugin>=1.3,<2; python_version >= '3.10'",
            "pillow-jxl-plugin>=1.3,<=1.3.4; python_version < '3.10'",
        ],
        "originals": [
            "range-coder>=1.1,<2",  # the coder of the released code, for experiments/speed/entropy_speed.py
        ],
        "serve": [
            "starlette>=0.49,<2",  # HTTP endpoints; 0.49 is the last for Python 3.9
            "uvicorn>=0.39,<1",  # the server that runs them
            "prometheus-client>=0.20,<1",  # /metrics
        ],
        "beam": [
            "apache-beam>=2.69,<3; python_version < '3.14'",  # many machines; 2.69 is the last for 3.9
        ],
        "test": [
            "pytest>=7,<10",
            "pytest-xdist>=3.7,<4",  # test files side by side; 3.7 can leave them in their order
            "pytest-cov>=5,<8",  # which lines the tests reach
            "httpx>=0.24,<1",  # Starlette's test client
            "scipy>=1.9,<2",  # closed forms as oracles
            # checks ONNX files; 1.19 needs a newer ml_dtypes than these versions of TensorFlow
            *("onnx>=1.15,<1.19" + version for version in (TF_2_14, TF_2_17)),
            "ruff>=0.17,<0.18",  # formatter and linter of the whole tree; a minor version may reformat
            "mypy>=1.18,<1.19",  # types of the public modules; 1.18 still knows Python 3.9
        ],
    },
    entry_points={
        "console_scripts": [
            "gllmm = gllmm_tf.cli.main:run",
            "gllmm-thumbnailer = gllmm_tf.desktop.thumbnail:main",
        ]
    },
)
