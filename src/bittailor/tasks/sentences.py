"""What the synthetic corpus `phones` says: random sequences of common words and of invented ones."""

from __future__ import annotations

from random import Random

COMMON = """
about above across after again air all along always animal answer apple arm around ask autumn away baby back bag ball
banana basket bath beach bear beauty because bed before begin beige behind bell below beside best better between bicycle
big bird black blanket blue boat body book both bottle bottom bowl box boy branch brave bread breakfast breathe bridge
bright bring broken brother brown brush build bus busy butter button buy cake call camera candle car careful carry cat
catch centre chair chalk change cheap cheese chicken child choice church circle city clean clear clock close cloth cloud
coat coffee coin cold colour come cook corner count country cousin cover cow cream cross cry cup curious dance danger
dark daughter day decision deep desk dinner dirty doctor dog door double down dream dress drink drive dry dust each ear
early earth easy eat edge egg eight empty enjoy enough evening every eye face fair fall family far farm fast father
feather feel fence field fifth finger fire first fish five flag floor flower fly fog follow food foot forest forget
fork found four fox free fresh friend from front fruit full funny garage garden gate gentle giant gift girl give glass
go goat gold good grandfather grass great green ground group grow guess hair half hammer hand happy hard hat have head
hear heart heavy help here high hill hold hole holiday home honey hook hope horse hot hour house how hundred hungry
hurry ice island jacket job join joke journey joy judge juice jump June just keep key kind king kitchen knife know
ladder lake lamp language large last late laugh law leaf learn leather leave left leg leisure lemon letter library
light like line lion listen little live long look loud love low lunch machine make map march market may measure meat
medicine meet melon message middle milk mind minute mirror miss money monkey month moon morning mother mountain mouse
mouth move much music name narrow near neck needle neighbour nest never new next nice night nine noise north nose
nothing now number nurse ocean off office often oil old onion only open orange orchard other oven over own page paint
pair paper parent park part party past path pear pencil people pepper phone picture piece pig pillow place plant plate
play please pleasure pocket poem point poor pot potato pour power present pretty price pull purple push put queen
question quick quiet rabbit race radio rain reach read ready red remember rest rice rich ride right ring river road
rock roof room root rope rose round rule run sad safe salt same sand Saturday sausage say school scissors sea season
second seed seven shadow shake shape share sharp sheep shelf shell ship shirt shoe shop short should shoulder show
shower silver simple sing sister six size skin sky sleep slow small smell smile smoke smooth snow soap soft soil
something song soon sound soup south speak spider spoon spring square stable stair star station stay stick still
stone stop store storm story straight strange street strong sugar summer sun sure surprise sweet swim table tail
take talk tall taste tea teach teeth television ten tent thank that their then there these they thick thief thing
think third thirsty this though thought thousand thread three throat through throw thumb thunder tiger time tired
together tomorrow tongue tooth top touch towel tower town toy train treasure tree trip trousers true try turn twelve
twenty two uncle under unusual use usual valley vegetable very village violin vision visit voice wait wake walk wall
want warm wash watch water wave way weather week well west wet wheel where which whistle white wide wife wild wind
window wing winter wish with without wolf woman wonder wood wool word work world worry worth write wrong yard year
yellow yes yesterday young youth zebra zero zoo
"""
WORDS = tuple(COMMON.split())

SOUNDS = {
    "onset": "b bl br ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s sh shr sk sl sm sn sp spr st str sw "
             "t th thr tr tw v w wh y z",
    "vowel": "a a a e e e i i i o o u u ai ay ea ee oa oi oo ou ow aw igh ar er ir or air ear",
    "coda": "b ch ck d dge f ft g k l ld lt m mp n nch nd ng nk nt p pt r rd rm rn rt s sh sk sp st t th v x z",
}
ONSETS, VOWELS, CODAS = (tuple(text.split()) for text in SOUNDS.values())
INVENTED_SHARE = 0.5  # the share of words that no dictionary knows, so that a network cannot go by words alone
MIN_WORDS, MAX_WORDS = 4, 6  # words a sentence


def sentence(random: Random) -> str:
    """Words one after the other, half of them invented."""
    return " ".join(invented(random) if random.random() < INVENTED_SHARE else random.choice(WORDS)
                    for _ in range(random.randint(MIN_WORDS, MAX_WORDS)))


def invented(random: Random) -> str:
    """One or two syllables that espeak-ng reads by its rules for letters.

    >>> invented(Random(0)) == invented(Random(0))
    True
    """
    text = ""
    for _ in range(random.randint(1, 2)):
        text += random.choice(ONSETS) + random.choice(VOWELS)
    return text + random.choice(CODAS)
