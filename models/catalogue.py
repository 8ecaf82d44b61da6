"""The face models that facefit knows by name: what they are, their licences, and how to get them.

Licences and sizes are facts about other people's files, told to the user before anything is downloaded. A download is
pinned: an address that names one revision, the number of bytes, their SHA-256. Where no such hash is known, or the
licence wants a signature, `obtain` says how to get the files by hand.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Download:
    """One file on a server, pinned."""

    url: str
    size: int  # bytes
    sha256: str  # hexadecimal
    suffix: str  # of the file in the user's folder


@dataclass(frozen=True)
class CatalogueEntry:
    """A model that can be named."""

    name: str
    title: str
    licence: str  # one line
    obtain: str  # how to get it without a download; {place} stands for its folder among the user's models
    vertices: int | None  # as its reader gives it; None where it depends on the variant
    identity: int | None
    expression: int | None
    albedo: int | None
    download: Download | None = None
    readable: bool = True  # whether models/formats/ has its reader


CATALOGUE = (
    CatalogueEntry(
        name="ict",
        title="ICT-FaceKit (light), USC Institute for Creative Technologies",
        licence="MIT",
        # GitHub packs archives anew on each request, so their bytes, and with them a hash, are not promised.
        obtain="clone https://github.com/USC-ICT/ICT-FaceKit and put its folder FaceXModel into {place}",
        vertices=24591,
        identity=100,
        expression=57,
        albedo=0,
    ),
    CatalogueEntry(
        name="gnm",
        title="GNM Head 3.0, Google",
        licence="Apache-2.0",
        obtain="",
        vertices=17821,
        identity=253,
        expression=383,
        albedo=0,
        download=Download(
            "https://huggingface.co/google/gnm-v3/resolve/c01e90d298d82301f9fd18f54806be751775cb7c/v3_0/gnm_head.npz",
            53_328_601,
            "61d78bbfb4ad8e0b38495804a4caef3214d3df00f8c3f68761e63b41ce3747eb",
            ".npz",
        ),
        readable=False,
    ),
    CatalogueEntry(
        name="surrey",
        title="Surrey Face Model, low resolution, University of Surrey",
        licence="non-commercial",
        obtain="take sfm_shape_3448.bin and expression_blendshapes_3448.bin from share/ of "
        "https://github.com/patrikhuber/eos and put them into {place}",
        vertices=3448,
        identity=63,
        expression=6,
        albedo=0,
    ),
    CatalogueEntry(
        name="bfm2009",
        title="Basel Face Model 2009, University of Basel",
        licence="non-commercial, by agreement with the University of Basel",
        obtain="ask for it at https://faces.dmi.unibas.ch/bfm/ and put 01_MorphableModel.mat into {place}",
        vertices=53490,
        identity=199,
        expression=0,
        albedo=199,
    ),
    CatalogueEntry(
        name="bfm2017",
        title="Basel Face Model 2017, University of Basel",
        licence="non-commercial, by agreement with the University of Basel",
        obtain="ask for it at https://faces.dmi.unibas.ch/bfm/bfm2017.html and put its .h5 file into {place}",
        vertices=None,
        identity=199,
        expression=100,
        albedo=199,
    ),
    CatalogueEntry(
        name="bfm2019",
        title="Basel Face Model 2019, University of Basel",
        licence="non-commercial, by agreement with the University of Basel",
        obtain="ask for it at https://faces.dmi.unibas.ch/bfm/bfm2019.html and put its .h5 file into {place}",
        vertices=None,
        identity=199,
        expression=100,
        albedo=199,
    ),
    CatalogueEntry(
        name="flame",
        title="FLAME, Max Planck Institute for Intelligent Systems",
        licence="non-commercial scientific research, by registration with the Max Planck Institute",
        obtain="register at https://flame.is.tue.mpg.de; its files are pickles, which facefit refuses",
        vertices=5023,
        identity=300,
        expression=100,
        albedo=0,
        readable=False,
    ),
)
"""Sources: the READMEs of USC-ICT/ICT-FaceKit and google/GNM, the SHA-256 of gnm_head.npz as its users pin it; Huber et
al., VISAPP 2016; Paysan et al., AVSS 2009; Gerig et al., FG 2018; Li et al., SIGGRAPH Asia 2017."""


def find_entry(name: str) -> CatalogueEntry | None:
    """Return the catalogue's entry of this name, None where there is none."""
    return next((entry for entry in CATALOGUE if entry.name == name), None)
