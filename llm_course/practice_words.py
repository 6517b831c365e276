"""The words and weights of the practice corpus; llm_course/practice_corpus.py tells how they are used."""

THEMES = {  # nouns | adjectives | verbs
    "sea": """rope mast sail oar net gull keel reef pier crab cod deck eel hull wave buoy raft helm
    tug cove jib barge squid canoe seal yacht shoal wreck quay sailor anchor prawn cabin pearl
    plank tern inlet skiff punt kelp whelk clam brig sloop spar bosun |
    wet salty deep briny tidal blue foamy leaky tarry coral choppy sandy fishy damp soggy sunken
    marine sea-green rocky silty slimy calm rough naval oozy bobbing lapping stranded |
    haul moor tow row steer sink bail board float hoist caulk paddle trawl lower furl dredge rig
    soak skim plumb chart flood swab ford gut swamp scour maroon""",
    "garden": """bud root stem rose fern oak elm fig bee lawn twig tulip petal apple spade hoe worm
    bulb slug acorn snail shrub bough pond vine nettle clover plum wasp pear thorn hedge yew ant
    gnat pod moth swede marrow trowel arbour orchid violet beetle turnip log |
    green ripe leafy mossy wild thorny dewy shady grassy floral muddy weedy hardy earthy woody
    potted rosy lush verdant scented budding rooted wilted fertile twiggy sappy ferny trailing |
    dig sow mow weed grow plant pick prune till tend pluck reap graft crop water climb clip uproot
    gather thin repot trample rake stake plough scythe harvest unearth""",
    "kitchen": """pot pan jug cup pie egg bun bowl jam fork tart leek bean pea stew soup cook oven
    ladle scone onion kettle jar crumb crust apron chef lemon sieve sauce curd stove cheese baker
    muffin pickle larder teapot broth roll hob lid ham wok flan spud |
    hot raw sweet sour fresh spicy crisp tasty stale fried baked minty boiled burnt juicy creamy
    sticky crusty bitter chewy cheesy greasy toasted buttery sugary floury doughy tangy |
    eat bake boil stir chop sip peel taste slice serve roast grate knead chew nibble lick pour
    mince dice melt stuff whip gulp butter gobble simmer sup baste""",
    "sky": """star cloud sun gale comet storm fog mist frost planet kite dawn sunset breeze gust
    meteor orbit rocket pilot rainbow squall puff icicle zephyr glider halo heaven cyclone nebula
    skylark vapour jet ray sunbeam flare flake nova quasar wisp balloon eclipse eagle mote pole
    blimp beam |
    pale icy dim airy high misty foggy windy starry cloudy bright gusty hazy lofty lunar solar
    frosty rainy sunny clear frozen azure breezy stormy radiant distant grey mild |
    blow thaw warm cool chase lift dazzle freeze blur scan waft sweep darken brighten glimpse
    outrun whirl shroud obscure buffet ignite tilt dampen spot admire chill fan greet""",
    "wardrobe": """hem sock glove cape cloak skirt shirt boot collar cuff sleeve button seam needle
    ribbon bonnet veil belt tailor weaver quilt tassel frill pleat zip knot loom rag tunic kilt
    wig sandal garter jacket pocket mitten buckle hat lapel poncho hood bib clog toga vest tie |
    silk torn lacy tight linen woollen velvet ragged faded woven frilly baggy spotted striped
    knitted cotton shabby patched fluffy mauve pleated pink dapper padded beaded neat loose tweed |
    sew knit wear mend darn fold weave snip cut spin trim wrap drape loosen tighten fasten unpick
    measure dye alter adorn tuck rip crease launder don doff hang""",
    "music": """drum flute harp horn fiddle lute song organ piano gong jig viola choir cello tuba
    banjo oboe singer chord hymn piper ballad carol trumpet guitar bugle reel duet anthem cymbal
    fanfare octave viol dancer violin aria sonata opera tenor trio solo baton fife bard lyre alto |
    loud soft shrill noisy silent quiet tuneful sharp choral brassy jolly hoarse reedy booming
    humming droning lilting muted jazzy merry lively off-key glad echoing bold lyrical flat tinny |
    sing hum hear play strum chant croon whistle clang chime conduct compose perform warble toll
    jingle applaud muffle drown soothe trill yodel bang recite thump deafen twang lull""",
    "workshop": """cog gear wheel saw bolt nut wire lamp tack hammer pin lever valve pump axe pulley
    engine drill rivet screw hinge magnet piston tinker chisel anvil dial gauge crank wedge ladder
    bucket robot gadget motor fuse boiler forge socket axle pipe cable rod vice strut welder |
    rusty oily iron brass steel copper golden tin bent blunt broken wooden hollow hinged squeaky
    wobbly dented wonky ticking rattling shiny jagged sooty leaden welded sturdy bronze chrome |
    oil weld file build twist carve mould grind solder repair adjust sharpen clamp unscrew hone
    invent patent prise cast flatten gild unlock shape prop smelt temper bore unbolt""",
    "farmyard": """cow pig hen duck ram ewe lamb horse mule dog owl hare toad frog mole kitten
    rabbit donkey badger otter stoat weasel hawk robin sparrow newt swan turkey chick stork paw
    claw barn stable saddle kennel farmer rider piglet burrow parrot bat rat vole wren bull |
    tame furry hairy hungry sly horned shaggy fierce scaly mangy nimble cunning docile grazing
    braying barking purring dusty woolly plump dappled untamed stray fleecy mulish meek bushy
    sleek |
    feed shear herd hunt bite peck sniff stroke pet cuddle nuzzle stalk lead follow tether tickle
    rear track nip nudge rouse lure startle rescue outwit goad woo tease""",
}
RHYMES = """
    room broom tomb plume costume groom heirloom | bed head shed sled thread spread figurehead |
    town crown gown clown frown noun eiderdown | hill mill will quill bill thrill treadmill |
    street seat feat treat sheet retreat fleet | bell shell spell well cell hotel farewell |
    gate plate state date slate debate estate | dance chance glance lance trance romance |
    king ring thing wing string swing spring | chair stair square affair pair fair heir |
    tide side bride guide ride stride pride | clock rock lock flock dock block shock |
    nest guest chest quest test west crest | hand land band strand sand brand stand |
    night light sight height flight knight | queue crew clue zoo view debut avenue |
    face place race space case base trace | door floor shore store war score core |
    stone bone throne loan tone zone cone | name game flame frame dame claim aim |
    boat coat goat throat moat note vote | sound ground mound pound round hound |
    book brook hook nook look crook rook | year ear tear fear spear career tier |
    wall hall fall ball call stall shawl | crow foe toe show glow bow bungalow |
    lake cake snake drake steak mistake | day way bay tray clay delay display |
    fire spire liar tyre squire empire | line sign shrine mine spine design |
    park mark spark lark arc ark clerk | train lane chain brain stain reign |
    tree key knee fee marquee referee | moon spoon noon tune dune cartoon |
    tail tale nail whale trail jail | sky eye lie spy thigh sigh fly |
    map cap lap trap gap nap tap"""
CAST = ("Peg", "Kit", "Dora", "Hugo", "Wyn", "Fay", "Zeb", "Max", "Joss", "Vida", "Clem", "Quill")
PLACES = """A_harbour A_kitchen_garden An_attic_full_of_clocks A_market_square A_hilltop An_inn
    A_lighthouse An_empty_theatre A_railway_platform A_walled_town A_cave A_beach"""
TIMES = "dusk daybreak noon midnight first_light breakfast_time cockcrow tea-time"
SOUNDS = "Thunder_&_rain. A_bell_strikes_3. Drums_&_trumpets. A_purse_of_$3_is_found."
LISTS = {
    "the": "the my your our his her their some",
    "this": "this that each every",
    "these": "these those two many both",
    "preposition": """of by in on for at with near from over past under down round up o'er upon above
        below after before behind beside beyond inside across""",
    "conjunction": "And But Yet For So",
    "pronoun": "I We You They",
    "modal": "may must can will shall would should could cannot might",
    "adverb": """Still Now Soon Often Never Always Gladly Softly Slowly At_last Once_more Perhaps
        In_secret Half-asleep No_longer For_ever""",
    "manner": """again at_once in_vain once_more all_day with_love by_night alone only half_of
        at_last in_turn for_ever""",
    "invitation": """Let_us So_let_me Come_and Go_and Do_not Pray Then_let_us O_never Nobody_can
        Make_haste_to I_long_to I_dare_not You_ought_to We're_born_to""",
    "question": "will_you would_you why_not can_you dare_you shall_I must_we who'll_ever did_you",
}
FITS = {"the": ("one", "many"), "this": ("one",), "these": ("many",)}  # which nouns follow which
STARTS = ("The", "This", "These", "conjunction", "pronoun", "Do")
SCALES = dict.fromkeys((*FITS, "The", "This", "These", "conjunction"), 50_000)
SCALES |= dict.fromkeys(("pronoun", "Do", "Does", "adverb", "invitation"), 100_000)
SCALES |= {"manner": 15_000}
WEIGHTS = {"stop": 200_000, "name": 20_000}
WEIGHTS |= {"label": 24, "enter": 1, "exit": 3, "sound": 1, "exeunt": 4}
ENDINGS = {
    "subject": {"\n": 1},
    "clause": {",\n": 5, ";\n": 3, ":\n": 1, "!\n": 1},
    "couplet": {".\n": 3, "!\n": 1},
    "question": {"?\n": 1},
}
