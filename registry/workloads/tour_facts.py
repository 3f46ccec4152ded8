"""The facts behind the tour's questions: common knowledge, written for this project."""

# Each entry is "asked = answered"; entries are separated by semicolons.
CAPITALS = """
France = Paris; Germany = Berlin; Italy = Rome; Spain = Madrid; Portugal = Lisbon; England = London; Ireland = Dublin;
Scotland = Edinburgh; Norway = Oslo; Sweden = Stockholm; Finland = Helsinki; Denmark = Copenhagen; Austria = Vienna;
Hungary = Budapest; Poland = Warsaw; Greece = Athens; Russia = Moscow; Ukraine = Kyiv; Romania = Bucharest; Bulgaria =
Sofia; Belgium = Brussels; Japan = Tokyo; China = Beijing; South Korea = Seoul; Thailand = Bangkok; Vietnam = Hanoi;
Nepal = Kathmandu; Iran = Tehran; Iraq = Baghdad; Syria = Damascus; Lebanon = Beirut; Turkey = Ankara; Egypt = Cairo;
Kenya = Nairobi; Morocco = Rabat; Cuba = Havana; Peru = Lima; Chile = Santiago; Argentina = Buenos Aires; Colombia =
Bogotá; Venezuela = Caracas; Canada = Ottawa; Australia = Canberra; Philippines = Manila; Jamaica = Kingston; Iceland
= Reykjavik; Serbia = Belgrade; Croatia = Zagreb; Czech Republic = Prague; Afghanistan = Kabul
"""

OPPOSITES = """
hot = cold; big = small; up = down; day = night; black = white; fast = slow; old = young; rich = poor; happy = sad;
light = dark; open = closed; high = low; long = short; hard = soft; wet = dry; good = bad; true = false; left = right;
early = late; near = far; full = empty; strong = weak; clean = dirty; loud = quiet; thick = thin; wide = narrow; deep
= shallow; first = last; love = hate; war = peace; life = death; push = pull; buy = sell; win = lose; begin = end;
north = south; east = west; inside = outside; above = below; before = after; always = never; more = less; friend =
enemy; sweet = sour; easy = difficult; cheap = expensive; safe = dangerous; simple = complex; success = failure;
positive = negative; male = female; public = private; ancient = modern; accept = reject; increase = decrease; arrive =
depart; remember = forget; laugh = cry; guilty = innocent; maximum = minimum; brave = cowardly
"""

ANIMALS = """
dog = mammal; cat = mammal; horse = mammal; cow = mammal; whale = mammal; dolphin = mammal; bear = mammal; lion =
mammal; elephant = mammal; rabbit = mammal; bat = mammal; monkey = mammal; mouse = mammal; deer = mammal; wolf =
mammal; eagle = bird; sparrow = bird; owl = bird; duck = bird; penguin = bird; parrot = bird; pigeon = bird; hawk =
bird; chicken = bird; swan = bird; crow = bird; ostrich = bird; flamingo = bird; robin = bird; turkey = bird; salmon =
fish; shark = fish; tuna = fish; trout = fish; cod = fish; goldfish = fish; eel = fish; carp = fish; ant = insect; bee
= insect; butterfly = insect; beetle = insect; mosquito = insect; moth = insect; grasshopper = insect; cricket =
insect; dragonfly = insect; wasp = insect; snake = reptile; lizard = reptile; crocodile = reptile; turtle = reptile;
iguana = reptile; alligator = reptile; gecko = reptile; tortoise = reptile; python = reptile
"""

FRENCH = """
water = eau; bread = pain; milk = lait; wine = vin; house = maison; dog = chien; cat = chat; horse = cheval; book =
livre; school = école; friend = ami; mother = mère; father = père; brother = frère; sister = sœur; man = homme; woman
= femme; child = enfant; king = roi; queen = reine; sun = soleil; moon = lune; sea = mer; mountain = montagne; river =
rivière; tree = arbre; flower = fleur; red = rouge; blue = bleu; green = vert; white = blanc; black = noir; yellow =
jaune; one = un; two = deux; three = trois; four = quatre; five = cinq; ten = dix; day = jour; night = nuit; year =
année; city = ville; door = porte; table = table; apple = pomme; cheese = fromage; fish = poisson; bird = oiseau; hand
= main; head = tête; heart = cœur; love = amour; life = vie; death = mort; good = bon; small = petit; big = grand; yes
= oui
"""

SPANISH = """
water = agua; bread = pan; milk = leche; wine = vino; house = casa; dog = perro; cat = gato; horse = caballo; book =
libro; school = escuela; friend = amigo; mother = madre; father = padre; brother = hermano; man = hombre; woman =
mujer; king = rey; sun = sol; moon = luna; sea = mar; river = río; tree = árbol; flower = flor; red = rojo; blue =
azul; green = verde; white = blanco; black = negro; one = uno; two = dos; three = tres; four = cuatro; ten = diez; day
= día; night = noche; year = año; city = ciudad; door = puerta; apple = manzana; cheese = queso; hand = mano; head =
cabeza; heart = corazón; love = amor; life = vida; good = bueno; small = pequeño; big = grande
"""

CONTINENTS = """
France = Europe; Germany = Europe; Italy = Europe; Spain = Europe; Poland = Europe; Sweden = Europe; Norway = Europe;
Greece = Europe; Portugal = Europe; Austria = Europe; Hungary = Europe; Finland = Europe; Belgium = Europe; China =
Asia; Japan = Asia; India = Asia; Thailand = Asia; Vietnam = Asia; Iran = Asia; Iraq = Asia; Nepal = Asia; Pakistan =
Asia; Indonesia = Asia; Mongolia = Asia; Malaysia = Asia; South Korea = Asia; Saudi Arabia = Asia; Egypt = Africa;
Kenya = Africa; Nigeria = Africa; Ghana = Africa; Ethiopia = Africa; Morocco = Africa; Sudan = Africa; Uganda =
Africa; Tanzania = Africa; Zambia = Africa; Senegal = Africa; Algeria = Africa; Libya = Africa; Brazil = South
America; Argentina = South America; Chile = South America; Peru = South America; Colombia = South America; Bolivia =
South America; Ecuador = South America; Uruguay = South America; Canada = North America; Mexico = North America; Cuba
= North America; Guatemala = North America
"""

COLOURS = """
a banana = yellow; snow = white; grass = green; blood = red; coal = black; a lemon = yellow; milk = white; a tomato =
red; a strawberry = red; a carrot = orange; a pumpkin = orange; a cucumber = green; spinach = green; chocolate =
brown; salt = white; sugar = white; broccoli = green; a cherry = red; a ruby = red; an emerald = green; a sapphire =
blue; lettuce = green; rice = white; flour = white; soot = black; an egg yolk = yellow; an eggplant = purple; lavender
= purple; a flamingo = pink; a frog = green; a fire engine = red; a polar bear = white; a crow = black; a sunflower =
yellow; the ocean = blue; the sky = blue
"""

PAST = """
go = went; eat = ate; see = saw; run = ran; take = took; give = gave; come = came; write = wrote; know = knew; speak =
spoke; drink = drank; sing = sang; swim = swam; begin = began; break = broke; choose = chose; drive = drove; fall =
fell; fly = flew; forget = forgot; get = got; grow = grew; hide = hid; hold = held; keep = kept; leave = left; lose =
lost; make = made; meet = met; pay = paid; ride = rode; rise = rose; say = said; sell = sold; send = sent; sit = sat;
sleep = slept; stand = stood; steal = stole; teach = taught; tell = told; think = thought; throw = threw; wear = wore;
win = won; buy = bought; bring = brought; catch = caught; find = found; feel = felt; build = built
"""

PLURALS = """
child = children; mouse = mice; foot = feet; tooth = teeth; man = men; woman = women; goose = geese; person = people;
leaf = leaves; knife = knives; wife = wives; life = lives; wolf = wolves; city = cities; baby = babies; box = boxes;
bus = buses; church = churches; potato = potatoes; hero = heroes; lady = ladies; story = stories; country = countries;
dish = dishes; half = halves; shelf = shelves; thief = thieves; fox = foxes; party = parties; watch = watches
"""

LANGUAGES = """
France = French; Germany = German; Italy = Italian; Spain = Spanish; Portugal = Portuguese; England = English; Russia
= Russian; China = Chinese; Japan = Japanese; Poland = Polish; Sweden = Swedish; Norway = Norwegian; Denmark = Danish;
Finland = Finnish; Greece = Greek; Turkey = Turkish; Hungary = Hungarian; Brazil = Portuguese; Mexico = Spanish;
Argentina = Spanish; Egypt = Arabic; Iraq = Arabic; Thailand = Thai; Vietnam = Vietnamese; South Korea = Korean;
Austria = German; Australia = English; Peru = Spanish; Saudi Arabia = Arabic; Cuba = Spanish
"""

THINGS = """
an apple = fruit; a banana = fruit; an orange = fruit; a grape = fruit; a pear = fruit; a mango = fruit; a peach =
fruit; a cherry = fruit; a plum = fruit; a carrot = vegetable; broccoli = vegetable; spinach = vegetable; cabbage =
vegetable; an onion = vegetable; celery = vegetable; lettuce = vegetable; a hammer = tool; a screwdriver = tool; a
wrench = tool; a chisel = tool; a drill = tool; a shovel = tool; a violin = musical instrument; a piano = musical
instrument; a guitar = musical instrument; a flute = musical instrument; a trumpet = musical instrument; a drum =
musical instrument; a cello = musical instrument; a clarinet = musical instrument; a chair = furniture; a table =
furniture; a sofa = furniture; a bed = furniture; a desk = furniture; a wardrobe = furniture; a car = vehicle; a truck
= vehicle; a bus = vehicle; a bicycle = vehicle; a motorcycle = vehicle; a train = vehicle; a rose = flower; a tulip =
flower; a daisy = flower; a lily = flower; an orchid = flower; an oak = tree; a pine = tree; a maple = tree; a birch =
tree; a willow = tree; iron = metal; copper = metal; gold = metal; silver = metal; tin = metal; aluminum = metal;
soccer = sport; tennis = sport; basketball = sport; golf = sport; hockey = sport; baseball = sport; a shirt =
clothing; a jacket = clothing; a dress = clothing; a sweater = clothing
"""

WORKPLACES = """
teacher = school; doctor = hospital; nurse = hospital; farmer = farm; chef = restaurant; waiter = restaurant; judge =
court; pilot = plane; sailor = ship; librarian = library; priest = church; scientist = laboratory; banker = bank;
actor = theatre; soldier = army; baker = bakery; mechanic = garage; miner = mine; professor = university; cashier =
shop; secretary = office; firefighter = fire station; lifeguard = pool; butcher = shop; lawyer = court
"""

YOUNG = """
dog = puppy; cat = kitten; cow = calf; horse = foal; sheep = lamb; pig = piglet; chicken = chick; duck = duckling;
lion = cub; bear = cub; goat = kid; deer = fawn; frog = tadpole; goose = gosling; kangaroo = joey; swan = cygnet;
eagle = eaglet; wolf = pup; tiger = cub; elephant = calf
"""
