"""Word lists behind the recogniser of names: common surnames and given names of Singapore and Malaysia, and words
that are written like names and are none. Lists of words that everybody shares, of nobody in particular."""

from __future__ import annotations

import re

SURNAMES = frozenset(
    """
    abdullah ahmad anderson ang au aw aziz bakar balakrishnan beh boey bok boon brown cai cao chan chang cheah cheam
    chen cheng cheok cheong cher cheung chew chia chiam chin chng chong choo choong chow choy chua clark cruz davies
    davis deng ding dong dsouza du edwards eng evans feng fernandez fernando fong foo foong fu gan gao garcia goh
    gomez guo gupta gwee hamid han harris hartono hassan heng hew ho hoe hong hu huang hughes hui ibrahim ismail
    jackson jiang johnson jones kang kaur kho khoo khor kim koay koh kong krishnan kuan kumar kwan kwek kwok lai lam
    lau lee leong leow lew lewis liang liew lim lin liu loh loke low lu lum luo lye ma mah martin martinez menon
    miller mohamed mok moo nair neo ng nguyen oh ong ooi osman othman pan pang park patel peh peng pereira pham phua
    pillai poh quah quek rahman raj rajan raju razak ren reyes roberts robinson rodrigues salleh santos santoso sato
    seah seow sharma shen sia sim singh siow smith sng soh song soon su subramaniam sun suzuki tan tanaka tang tay
    taylor tee teh teo tham thia thomas thompson tian tiong toa toh tong tran walker wang wee wei wijaya williams
    wilson wong woo wright wu xiao xie xu yang yao yap yau ye yeo yeoh yip yong yu yuan yusof zeng zhang zhao zheng
    zhou zhu
    """.split()  # noqa: SIM905 - a list of words reads better as words
)

# Syllables of given names in the usual romanisations (Mandarin, Hokkien, Teochew, Cantonese, Hakka).
SYLLABLES = frozenset(
    """
    ah ai an bao bee bei beng bi bin bing bo bok boon cai can chai chao chee chen cheng cher chew chiang chin
    ching chong choo choon chow chu chuan chun chung chye cong da dan de di dong duo ee en eng fa fan fang fei
    fen fengying fong fu gek geok guan guat gui guo hai han hao har heng hian hiang ho hock hoe hoi hong hooi
    hoon hsien hua huat huay hui huiling hung hwa hwee jia jiahui jian jiawei jiaying jie jin jing joo jun
    junjie junwei kai kaiwen kang keat kee keng keong kheng khim khoon kiat kim kok kong koon kuan kuang kwang
    kwok kwong lai lan lay lee leng leok li lian liang lin ling long loo loong luan luen mee mei meiling meng
    miao min ming minghao moi mui mun nam neo ngee ngoh nguan ning pei peng phaik pin ping poh poon qi qian qing
    quan rong ru rui ruo sai san see seng seow shan shen sheng shi shu shuang si siak siang siew siewling sim
    sin sing siong siow siu soh sok song soo sook soon soong su suan sui swat swee sze tat teck teik teng thiam
    thong tian ting tiong tong tuan tuck wah wai wan wee wei weijie weiling weiming weixiang wen wing woon xia
    xian xiang xiao xin xing xinyi xiu xuan xue ya yam yan yang yean yee yen yew yi yih yin ying yit yixin yok
    yoke yong yoon yu yuan yue yuen yuet yun zhang zhen zheng zhi zhihao zhiwei zhong zhu zhuo zi ziyang
    """.split()  # noqa: SIM905 - a list of words reads better as words
)

GIVEN = frozenset(
    """
    aaron abdul abhishek abigail adam adeeb adeline adnan adrian afiqah agnes aidan aidil aileen aiman aini ainul
    aishah aisyah ajay akmal alagu alan albert aldrin alex alexander alexis alfred alia alice alicia aliff alina
    alisa alvin alvina amalina amanda amelia amin aminah aminuddin amir amira amirah amirul amit amrita amy anand
    anbarasi andrea andrew andy angela angeline angie anil anisah anita ann anna anne annie anthony anuar anushka
    anwar april aravind arif ariff arissa arjun arthur arun arvin arvind ashley ashok ashraf ashwin asma asmah
    athirah audrey ayesha azhar azhari azim azira aziz azizah azizi azlan azlina azman azmi azrin azura badariah
    badrul bala balan balkis balqis barbara beatrice bella ben benedict benjamin benny bernadette bernard bernice
    bhavani bob boonchai brandon brenda brendan brian bryan bryce caleb calvin candice carl carol caroline cassandra
    catherine cedric celine chandra chandran charlene charles charlie charlotte charmaine cherie cheryl chitra chloe
    chris christina christine christopher cindy claire clara clarence claudia clement clementine cliff colin connie
    constance crystal cynthia cyril daisy dalila damia damian danial daniel danielle danish danny darren darryl
    darshan daryl daud david davina dawn dean deborah deepa deepak denise dennis derek derrick desiree desmond devan
    devi dewi dharshini dhruv diana dinesh dineshwaran divya dominic dominique donald doris dorothy douglas dylan
    eddie edgar edith edmund edna edward edwin eileen elaine elena elijah eliza elizabeth ellen ellie elsa elvin
    emily emma emmanuel eric erica ernest ernie esmond esther ethan ethel eugene eunice eva evan evelyn fadhil fadli
    fadzilah fahmi faisal faith faiz faizal faizul farah farhan farhana farid faridah fariha fariz farouk fathimah
    fatimah fatin fauzi fauziah fazil felicia felicity felix ferdinand fidelia fiona firdaus florence frances
    francis frank fred freda freddie freddy gabriel ganesan ganesh gary gavin geetha genevieve george gerald
    geraldine germaine gilbert gillian gina girish glenn gloria gopal gordon govind grace graham gregory gwen
    gwendolyn hafiz hafizah hafizuddin haikal hairul hakim halim halimah hamid hamidah hamzah hana hanafi hani hanif
    hanis hannah harish harith harold harris harry hartini harun hasan hashim hashimah hasmah hasnah hasnita hassan
    hazel haziq hazwani heather helen hema hendra henry hidayah hidayat hilda hisham hugo hui husin husna hussein
    ian idris iman imelda imran indran ingrid irene irfan irwan isaac isabel isabelle ishak iskandar ismadi ismail
    ivan ivy izwan izzah izzat jack jackie jaclyn jacob jagdish jaime jamal james jamie jamil jamilah janani jane
    janet janice jared jaslyn jasmin jasmine jason jasper jayanthi jayden jean jeevan jeffery jeffrey jega jegan
    jennifer jenny jeremy jerome jerry jesse jessica jessie jeyanthi jill jim jimmy joan joanna joanne jocelyn joe
    joel joey johari john johnny jolene jonathan joseph josephine josh joshua joy joyce joyceline judy julia julian
    juliana julie juliet junaidi justin justina kadir kaitlyn kalaivani kalpana kamal kamala kamaruddin kamarul
    kannan karen karim karina karmen karthik karthika kartini karuna kasim kassim kasturi kate katherine kathy kavin
    kavita kavitha kayden kayla keith kelly kelvin ken kenneth kenny kevin khadijah khairul khalid khatijah kim
    kimberly kiran kirthana komala komathi krishna kumar lakshmi lance larry latif latifah laura lauren lavanya
    lawrence leah leela leena leon leonard leonardo leslie lester letchumi lily lina linda lionel lisa liyana
    loretta lorraine louis louise lucas lucia lucy luke lukman luther lydia lynn mabel magdalene mages maggie
    mahathir mahendran mahesh maimunah maisara maisarah majid malathi malik mallika manimaran manoj mansor marcus
    margaret maria mariam marie marilyn marissa mark marlina martin marvin mary marzuki masitah maslinda mathan
    matilda matthew maurice max may mazlan mazlina meena megan megat melati melinda melissa melvin melvyn menaka
    michael michelle mike mindy mira mirza mohamed mohammad mohammed mohan mohd mokhtar monica muhamad muhammad
    muniandy munirah murali murugan mushtaq mustafa muthu myra nabil nabila nadia nadiah nadine nadzirah naim najib
    nalini nancy naomi narayanan natalie natasha natasya nathan nathaniel naveen nazim nazirah nazri nazrin neha
    neil nelson nicholas nicola nicolas nicole nigel nirmala nisa nitin nizam noah noel nora noraini norashikin
    norhayati norizan norliza norma normah norman nur nurhidayah nurin nurul nurulhuda odette oliver olivia omar
    ophelia oscar osman owen padma padmini pamela patricia patrick paul pauline pavithra peggy penny perry perumal
    peter philip phoebe pooja prabakaran prabha prabhu pradeep pragash prakash pramila preethi prema premala
    priscila priscilla priya priyanka punitha puspa qamar qistina quentin rachael rachel raden radha rafidah rafiq
    rahim rahman rahmat raihan rajendran rajesh rajeswari rakesh ramesh ramli ramya rani ranjit rashid rashidah
    ratna ravi ravindran ray raymond razak razali razif rebecca reena regina rekha renuka reshma reuben rex richard
    ridzuan rini rita rizal rizwan robert robin roger rohana rohani rohaya rohit roland rolanda ronald ronnie ronny
    roopa ros rosa rosalie rosalind rosanne rosdi rose roshan roshini rosie roslan roslee rosli roslina roslyn
    rosmah rosmawati rosnah rosnani rowena roy rozita rubini ruby rudy rukmini rusli russell ruth ryan sabariah
    sabrina sadia sadie sadiq safiah safwan sahil saifuddin saiful salbiah salim salina salleh sally salmah salwa
    sam samantha samuel sandra sandy sangeetha sanjana sanjay sanjeev santhi sarah saraswathy saravanan sarina sasha
    sasi sathiaseelan sathish satish sean sebastian selina selvam selvaraj selvi senthil serene shafiee shafinaz
    shafiq shahida shahidah shahira shahril shahrizal shahrul shakila shalini shamala shamini shamsul shane shankar
    shannon shanthi shanti sharifah sharmila sharon sharul shathish shawn sheena sheila sherlyn shermaine sherry
    shida shirley shukri sidney silvia simon simone sindhu siti siva sivakumar sofea sofia sofiyah sonia sophia
    sophie stanley stefan stella stephanie stephen steve steven stuart subashini subra sudha sufian suganthi sugu
    suhaila suhaimi suhana sujatha sulaiman suman sumathi sundari sunil sunita suraya suresh suriani surya susan
    susila suzanne syafiq syafiqah syahirah syahmi syakir syamsul syarifah syed sylvia syuhada tania terence
    teresa terrence terry tessa thana thanaraj tharani theresa thiru thivya thomas tiffany tim timothy tina toby tom
    tony tracy trevor tricia trixie troy tyler uma ursula usha uthaya valencia valerie vanessa vani vasanthi vasuki
    velu veni venkat venugopal vera vernon veronica vicky victor victoria vijay viknesh vikneswaran vikram vimal
    vimala vince vincent vinesh vinod vinoth viola vishnu vivian vivien vivienne wafi wahid wahida walter wan warren
    wayne wendy wesley widya wilfred william willie wilson winifred winnie winston xavier yahya yani yasir yasmeen
    yasmin yati yogesh yolanda yuliana yusri yusrizal yusuf yuvaraj yvette yvonne zachary zack zaharah zahid zahra
    zaid zaidi zainab zainal zaini zaiton zakaria zaki zakiah zaleha zamri zara zarina zawiyah zikri zoe zuhairi zul
    zulaikha zulfadli zulhilmi zulkifli zuraidah zuraini
    """.split()  # noqa: SIM905 - a list of words reads better as words
)

# Capitalised words that follow "call", "ask for", "this is" or a title and are no one's name.
NOT_NAMES = frozenset(
    """
    a abang able about account accounts acrylic ada adalah address adhesive admin administration afraid after
    afternoon again ah airport akan alam all allergic already also aluminium always am amex ampang an and any
    anybody anyone apr april arabic aramex are as asap asia asking assorted at audit aug august auntie aunty
    available avenue aware awful back bad bagasse bags bakers bakery bamboo bank bar based batam bay bays bean beans
    because bedok beehoon been before beijing bento best bhd billing biodegradable bishan bistro black blk block
    blue boleh boss both bowl bowls box boxes branch bread broken bubble buddhist buffet bugis bulk burger but by
    cafe cake call calling cambodian can canberra cancel canteen cardboard cards careful carousell carton cartons
    cashier cashiers catering center central centre changed changi cheap checking chef cheras chilled china
    chinatown chinese chongqing christmas cik cimb city clear clementi clients closed co coffee cold colleague
    colleagues color colour company compostable confirm confused contact container containers cooking corner
    corporate counter counters courier couriers crockery cup cups currently customer customers cutlery cyberjaya
    damaged dan dari date dbs dealer dear dec december deepavali deli deliveroo delivery dengan department dept
    desserts detpak dhl di did dinner disappointed dispatch distributor do doctor does dover dr drinks driver
    duitnow duplicate durian each eco email encik english enquiries enquiry esok eunos evening events every everyone
    everything extra extremely facebook fairprice false fedex fiesta filipino finance fine first floor foil folks
    following food foodpanda foods fork forks fortnight free fresh fri friday friend friends from frozen frustrated
    full furious further gate gdex general gentlemen gents getting geylang giro glad gloves gmail going gold golden
    good goods google grab grade granted great green grill guys habis had hajah haji halal halaman half hand hands
    happy hari has have having hawker he hello help her here hi him hindu his hokkien holland hopeless horrible hot
    hotel hotline hougang house how hq hr hsbc hub hubungi huhtamaki hungry i ialah ice if ikea immediately
    impossible in incorrect india indian indonesia indonesian info ini instagram insurance interested interestingly
    introduction invoice ipoh is islam it item its itu jan janio january japan japanese jaya jb jinan jnt johor juga
    jul july jun june jurong just kajang kak kallang kami kampung kasih katong ke kecewa kedai keen kepada kertas
    kfc khidmat kinabalu kindly kiosk kitchen kl klang knives kopi korea korean kosong kota kotak kraft kranji kuala
    kuantan kuching kuih kulai la lactose ladies lah lakeside lalamove larkin later latest lavender lazada lebar
    legal let level lid lids lift line linen loading lobby locals located logistics longan looking lor lost loyang
    ltd lumpur lunch machine machines madam mahu main makan malay malaysia malaysian malaysians mall management
    manager mandai mandarin mar march marina marketing masai mastercard maxwell may maybank maybe mcdonald mdm me
    melaka member members membership merah metal metro minimum ministry miri miss mister mixed mobile mon monday
    more morning motorola mr mrs ms muar muslim my nak name nanjing napkin napkins nasi natural need neither nets
    never new newest next ninja ninjavan no nobody none noodle noodles nordic normal normally north northern norway
    not noted nov november novena now number nurse nursery nurses nursing o ocbc oct october of office often ok okay
    old on one online only operations operator ops or orang orchard order ordered ordering orders original our out
    outdoor outlet outram outside oversea overseas packaging packers packing pada paid pak pallet pallets panjang
    paper papers partner partners party pasir paya paylah payment paynow payoh paypal pcs pe pelanggan pembelian
    penang penghantaran pengurus pengurusan penutup pesanan pet petaling phone pickup pink pioneer pizza pla placing
    plain plastic plate plates please pls plus pos posb poslaju powder premium pretty price printed printer pro
    procurement procuring product production prof professor promo promotion promotions prompt proper pte puan puas
    puchong punggol purchasing putrajaya qc qty quality quantity queenstown quick quite qxpress raffles ramadan
    ramadhan rather raya ready really receiver receiving reception recipients recycled red redhill redmart refund
    regarding regards regular replacement reseller restaurant ribbon rice ridiculous right ris rm road roll rolls
    rotten round rude running sabah salad sales same samples sarawak sat satay saturday sauce sauces saya scan
    seafood seal section security see selangor seletar seller sellers sembawang senai send sending sengkang sept
    september serangoon seremban service services shah shanghai she sheets shenzhen shocked shop shopee shoppers
    shortly siglap sila silver simei simple since singapore singaporean singaporeans singpost sir size skudai sleeve
    sleeves small smart snack snacks so some somebody someone soon sorry speaking spicy spoon spoons square staff
    staffs stall stalls starbucks starch starting sticker stickers still stock store stores straw straws street
    strict stripe student students subang sugar sugarcane summer sun sunday sunny sup supervisor supplier suppliers
    support sure surprised sushi table tables tak takeaway tamil tampines tanah tanjong tape tapes tea team tel tell
    tentatively terima terminal terrible test thai thailand than thank thanks that the their them then there these
    they thick thin this through thu thursday tianjin tidak tiktok timah tin tissue tissues tmr to toa toast today
    tolong tomorrow tonight too top total tower tradehub transparent transport tray trays tria true trying tuan tuas
    tues tuesday twin typo ubi unable unacceptable unbelievable unbleached uncle unhappy unit until untuk uob up ups
    upset urgent urgently us using usual utensils valued vegan vegetarian vendor vendors very vietnam vietnamese vip
    visa waffle wait waiting warehouse was waxed we wed wednesday weekly welcome were wet what whatsapp when where
    which white who whoever wholesale why will with wondering wood wooden woodlands worst would wrap wraps writing
    wrong xero yang yellow yes yesterday yet yishun you your yours zip
    """.split()  # noqa: SIM905 - a list of words reads better as words
)

# Given names that are ordinary words when they are not capitalised.
WORDS_TOO = frozenset(
    """
    angel art bill bob clement cliff crystal daisy dawn dean faith frank gene glen grace grant hazel ivy jack jade
    jasmine joy lance lily mark max may mike miles noel penny ray rich robin rose ruby sally shane sunny victor
    wade will
    """.split()  # noqa: SIM905 - a list of words reads better as words
)

# Places and brands that look like a surname and syllables.
NOT_PEOPLE = frozenset(
    {
        "ang mo kio", "lim chu kang", "choa chu kang", "lee kum kee", "tan tock seng",
        "chin swee road", "hong leong bank", "yong tau foo",
        "wan tan mee", "kong guan", "ho chi minh", "hong kong", "pu er", "kim chuan",
        "ng teng fong", "tai sun", "lau pa sat", "toa payoh", "yong he",
        "teo chew", "kway teow", "koh lanta", "han sin", "low fat",
        "low sugar", "boon lay", "boon keng", "tai seng", "yew tee", "yio chu kang",
        "kim seng", "sin ming", "pek kio", "tai wah", "kai tak", "shah alam", "park hotel", "may day", "lee hwa",
    }
)  # fmt: skip

# Ordinary words that begin with a character that is a surname as well.
CHINESE_WORDS = frozenset(
    """
    马上 马路 方式 方便 方法 方面 方向 方形 金额 金色 白色 黄色 白天 白纸 高兴 高一 高点 钱包 余额 任何 毛巾
    温度 温水 万一 于是 何时 许多 严重 谢谢 段时 石头 江边 江苏 张贴 张家 关于 关门 关店 关系 关闭 关机 简单 麦片 甘蔗
    梅花 梅子 章程 凌晨 连接 连续 连同 连锁 麦当 游客 金属 黄金 黄油 高峰 常常 路口 方案 许可 高达 高于 白糖 金色 梁上
    """.split()  # noqa: SIM905 - a list of words reads better as words
)

CHINESE_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟"
    "熊秦邱江赖萧阮詹凌关简麦甘伍梅霍骆纪涂俞殷鲍岑祝聂尤辜邝柳冼司诸欧尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤洪翁颜柯庄符傅温施欧蓝卓陳張劉楊黃趙吳孫馬羅鄭謝許韓馮鄧葉蘇魏呂盧鐘譚陸龍賴蕭溫關簡麥紀塗聶鄺龔顏莊歐湯駱"
)

# Words of companies: a name with one of them, or before one with a capital, is theirs.
ORGANISATION = frozenset(
    """
    association bakery bakes bank bhd bistro cafe canteen caterers catering church clinic club college company corp
    corporation deli delights eatery enterprise enterprises express food foods group grill hawker holdings hospital
    hotel industries industry kitchen kitchens logistics ltd mall marketing mart minimart noodle noodles packaging
    plaza pte restaurant school sdn services society supermarket supplies supply temple tower trading transport
    university
    """.split()  # noqa: SIM905 - a list of words reads better as words
)

# How words end that are no names; asked only of what has no form of a name.
_ORDINARY = re.compile(
    r"[a-z]{2,}(?:ous|able|ible|less|tion|sion|ness|ment|ally|ively|ously|ingly|ity|ship|ware|ance|ence|ing|[^e]ed)"
)
# How Malay, Arabic and Indian names begin and end that no list holds.
_FORM = re.compile(
    r"[a-z]{2,}(?:zwan|fwan|dhwan|zuan)|(?:nur|nor|noor|siti|khair|muham|moham|abdul|shahr|syar|syaz|syah|zul|faiz|haf[iy]z|naz|saiful|kamar|fakhr|badr)"
    r"[a-z]{2,}|"
    r"[a-z]{2,}(?:ud{1,2}in|ullah|rahman|izzah|[iy]zah|izan|rizal|irul|wati|watie|syah|hayati|ainah|aidah|idah|iyah|"
    r"azlin|swaran|sh?wari|kumar|nathan|samy|sami|lingam|priya|krishnan|waran|[vw]athy|selvan|rajan|raju|jeet|preet|"
    r"inder|chandran|murthy|lakshmi|thevi|devi|veni|malar)"
)
_SHORTEST_JOINED = 5


def is_ordinary(word: str) -> bool:
    """True for a lower-case word that is no name by the lists, or by its ending."""
    return word in NOT_NAMES or (_ORDINARY.fullmatch(word) is not None and not has_form(word))


def has_form(word: str) -> bool:
    """True for a lower-case word that is a known given name or is made like one: Hafizuddin, Vikneswaran, Peiling."""
    return word in GIVEN or _FORM.fullmatch(word) is not None or _is_joined(word)


def _is_joined(word: str) -> bool:
    """Two syllables of a Chinese given name written as one word."""
    return len(word) >= _SHORTEST_JOINED and any(
        word[:at] in SYLLABLES and word[at:] in SYLLABLES for at in range(2, len(word) - 1)
    )


def is_like(written: str) -> bool:
    """True when capitalised words are a known name or have the form of one: what no list holds but a reader sees."""
    first, *rest = _BETWEEN_WORDS.split(written.lower())
    if len(rest) in {1, 2} and all(word in SYLLABLES or word in SURNAMES for word in (first, *rest)):
        return written.lower() not in NOT_PEOPLE
    return first not in NOT_NAMES and (has_form(first) or (first in SURNAMES and bool(rest)))


_BETWEEN_WORDS = re.compile(r"[ \t\-]+")


def is_known(written: str) -> bool:
    """True when the words begin with a known given name, or with a known surname and more follows."""
    first = _BETWEEN_WORDS.split(written, 1)[0].lower()
    return first in GIVEN or (first in SURNAMES and " " in written)
