"""Contents of generated catalogs: product types, their attributes and their options.

Every attribute can follow "it is". No option value contains the name of another color, as ``standard`` contains
``tan``: WebShop's reward rule could never reward such a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_COLORS = "black white navy green red gray pink purple yellow orange brown teal".split()
_SIZES = "small medium large xx-large".split()

OPTIONS: Mapping[str, Sequence[str]] = {
    "color": _COLORS,
    "size": _SIZES,
    "shoe size": "6 7 8 9 10 11".split(),
    "pack": ["single", "pair", "three pack", "six pack", "twelve pack"],
    "length": ["half meter", "one meter", "two meters", "five meters"],
    "scent": "vanilla jasmine cedar citrus unscented".split(),
    "flavor": "honey ginger cinnamon salted spicy".split(),
    "finish": "glossy matte brushed polished".split(),
}
"""Option name to the values that a product may offer."""

_WORN = (
    "machine washable,quick drying,water resistant,wind proof,lightly padded,easy to fold,soft to touch,made to last"
)
_HOME = "easy to clean,easy to assemble,scratch resistant,space saving,hand made,child safe,made of oak,low in weight"
_KITCHEN = "dishwasher safe,heat resistant,leak proof,easy to clean,rust free,stackable,made of glass,oven safe"
_CARE = "fragrance free,cruelty free,gentle on skin,oil free,plant based,travel sized,fast absorbing,alcohol free"
_POWER = "rechargeable,splash proof,energy saving,wall mounted,voice controlled,low in noise,fast charging,shock proof"
_FOOD = "sugar free,gluten free,dairy free,fair trade,freshly roasted,organically grown,high in protein,ready to eat"
_OUTDOOR = "weather proof,foldable,easy to carry,rust free,quick to pitch,made to last,low in weight,insulated"


@dataclass(frozen=True, slots=True)
class ProductType:
    """A product type.

    Attributes:
        name: singular, lower-case; also its search field.
        department: as in the ``category`` of a product.
        aisle: the part of the category's path between department and name.
        attributes: possible attributes.
        options: names of its options.
        prices: minimum and maximum price in dollars.
    """

    name: str
    department: str
    aisle: str
    attributes: tuple[str, ...]
    options: tuple[str, ...]
    prices: tuple[int, int]


def _types(
    department: str, aisle: str, attributes: str, options: str, prices: tuple[int, int], names: str
) -> list[ProductType]:
    said, offered = tuple(attributes.split(",")), tuple(options.split(","))
    return [ProductType(name, department, aisle, said, offered, prices) for name in names.split(",")]


PRODUCT_TYPES: Sequence[ProductType] = (
    *_types(
        "clothing", "Outerwear", _WORN, "color,size", (25, 180), "rain jacket,winter coat,fleece vest,hooded parka"
    ),
    *_types(
        "clothing", "Everyday Wear", _WORN, "color,size", (8, 70), "wool sweater,polo shirt,jogging suit,pajama set"
    ),
    *_types("clothing", "Shoes", _WORN, "color,shoe size", (20, 140), "hiking boot,canvas sneaker,house slipper"),
    *_types(
        "home", "Furniture", _HOME, "color,finish", (30, 400), "side table,bar stool,book shelf,shoe rack,desk chair"
    ),
    *_types("home", "Textiles", _WORN, "color,pack", (8, 90), "throw blanket,pillow cover,bath towel,door mat"),
    *_types("kitchen", "Cookware", _KITCHEN, "finish,pack", (9, 120), "frying pan,baking tray,mixing bowl,soup pot"),
    *_types("kitchen", "Tableware", _KITCHEN, "color,pack", (5, 60), "coffee mug,water bottle,lunch box,salad plate"),
    *_types("beauty", "Skin Care", _CARE, "scent,pack", (4, 50), "hand cream,face wash,body lotion,lip balm"),
    *_types(
        "electronics", "Accessories", _POWER, "color,length", (6, 60), "charging cable,extension cord,headphone lead"
    ),
    *_types("electronics", "Devices", _POWER, "color,finish", (15, 300), "desk lamp,alarm clock,night light,table fan"),
    *_types(
        "grocery", "Pantry", _FOOD, "flavor,pack", (3, 40), "trail mix,rice cracker,oat cookie,herbal tea,snack bar"
    ),
    *_types("garden", "Outdoor", _OUTDOOR, "color,size", (15, 260), "camping tent,folding chair,picnic rug,tool bag"),
)
"""All product types."""

SYLLABLES: Sequence[Sequence[str]] = (
    "bel cor dal fen gar hol jun kel lum mor nor pel quin ros sel tor ulm ver wil yar".split(),
    "a bri da e fo go i ka li mu no o ra sta ti u vo wi".split(),
    "dan dex lin lo mar nix ra rex sen tek vik wood".split(),
)
"""First, middle and last syllables of invented brands."""
