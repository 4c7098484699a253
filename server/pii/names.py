"""Word lists behind the recogniser of names: common surnames and given names of Singapore and Malaysia, and words
that are written like names and are none. Lists of words that everybody shares, of nobody in particular."""

from __future__ import annotations

import re
from collections.abc import Sequence

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
    aaron abbas abdul abhishek abigail adam adeeb adeline adelle adila aditya adnan adrian afif afiqah agatha agnes
    ahmed aidan aidil aileen aiman aini ainul aishah aisyah ajay akmal alagu alan albert aldrin alessandra alex
    alexander alexis alfred alia alice alicia aliff alina alisa aloysius alston alvin alvina alwyn amalina amanda
    amelia amin aminah aminuddin amir amira amirah amirul amit amos amrita amy anand anbarasi andre andrea andrew
    andy angela angeline angie anil anisah anita ann anna anne annie anson anthea anthony antony anuar anushka anwar
    april aravind arif ariff arina arissa arjun arman arthur arun arvin arvind ashley ashok ashraf ashwin ashwini
    asma asmah asyraf athirah audra audrey augustine ayesha ayumi azhar azhari azim azira aziz azizah azizi azlan
    azlina azman azmi azrin azura azwan badariah badrul bala balan balkis balqis barbara baskaran beatrice belinda
    bella ben benedict benedicta benjamin benny bernadette bernard bernice bertha bettina bhavani bob bonnie
    boonchai brandon brenda brendan brian brigid bryan bryce caleb callie cally calvin camilla candace candice
    carina carl carla carmel carol caroline cassandra cassie catherine cathy cecilia cedric celia celine chandra
    chandran charis charlene charles charlie charlotte charmaine cherie cheryl chitra chloe chris christabel
    christal christina christine christopher chrystal cindy claire clara clarence clarice claudia claudine clement
    clementine cliff clive colin connie constance cordelia corina corinne cornelius crispin crystal cynthia cyril
    daisy dalbir dalila damia damian danial daniel danielle danish danny darren darryl darshan daryl daud david
    davina davinder dawn dean debbie deborah deepa deepak delia della delphine denise dennis derek derrick desiree
    desmond devan devi dewi dharshini dhruv diana dinesh dineshwaran divya diyana dominic dominique donald donna
    dorcas doreen doris dorothy douglas dylan eddie edgar edith edmund edna edward edwin efendi effendi eileen
    elaina elaine elena elfie elijah elise elisha eliza elizabeth ellen ellie elsa elvin elvira emilia emilie emily
    emma emmanuel eric erica ernest ernestine ernie esme esmond estelle esther ethan ethel eugene eunice eva evan
    evangeline evelyn evon fabian fadhil fadli fadzilah fahmi faisal faith faiz faizal faizul farah farhan farhana
    farid faridah faridzuan fariha fariz farouk fasihah fathimah fatimah fatin fauzi fauziah fazil felicia felicity
    felix ferdinand feroz fidelia fikri fiona firdaus fitri fitriah florence frances francesca francine francis
    frank fred freda freddie freddy frederick frieda gabriel ganesan ganesh gary gavin gayathri geeta geetha
    genevieve george georgina gerald geraldine gerard germaine gerry gilbert gilda gillian gina girish giselle
    gladys glenn gloria gopal gordon govind grace graham gregory griselda gurmit gwen gwendolyn gwyneth habib hafiz
    hafizah hafizuddin haikal hairul haizum hakim halim halimah hamdan hamid hamidah hamzah hana hanafi hani hanif
    hanis hannah hansel harish harith harjit harold harris harry hartini harun harvinder hasan hashim hashimah
    hasmah hasnah hasnita hassan hazel haziq hazwani heather heidi helen helmi hema hendra hendry henrietta henry
    herman hidayah hidayat hilary hilda hirdayal hisham horace hubert hugo hui humaira husin husna hussein ian ida
    idayu idris ilyas iman imelda imran indran ingrid iqbal irena irene irfan irwan isaac isabel isabella isabelle
    ishak iskandar ismadi ismah ismail ivan ivy izham izwan izzah izzat jacintha jack jackie jaclyn jacob jacqueline
    jagdish jaime jalil jamal james jamie jamil jamilah janani jane janet janice janine jared jarred jaslyn jasmin
    jasmine jason jasper jasvinder javier jayanthi jayaraj jayden jean jeannie jeevan jeffery jeffrey jega jegan
    jemima jennifer jenny jeremiah jeremy jerome jerry jessalyn jesse jessica jessie jeyanthi jill jillian jim
    jimmie jimmy joan joanna joanne jocelin jocelyn joe joel joey johari john johnny jolene jolin jolyn jonathan
    joseph josephine josh joshua josiah jovan jovita joy joyce joyceline joycelyn judith judy julia julian juliana
    julie juliet julius junaidi juraimi justin justina kadir kaitlyn kalai kalaivani kalimuthu kalpana kamal kamala
    kamaruddin kamarul kanagaraj kannan karen karim karina karmen karthik karthika kartini karuna karuppiah kasim
    kassim kasturi kate katherine kathy katrina kavin kavita kavitha kayden kayla keith kelly kelvin ken kenneth
    kenny kevin khadijah khairul khalid khatijah kim kimberly kiran kirsten kirthana kishore komala komathi krishna
    kristin kuldip kumar kumaran kumaresan lakshmi lalitha lance larissa larry latif latifa latifah laura lauren
    lavanya lavinia lawrence leah leanne leela leena leon leonard leonardo leonie leslie lester letchumi leticia
    lidia lilian lillian lily lina linda lionel lisa liyana liza loretta lorna lorraine louis louisa louise lourdes
    lucas lucia lucy luke lukman luqman luther lyana lydia lynn mabel magdalene mages maggie maggy mahani mahathir
    mahendran mahesh mahfuz maimunah maisara maisarah majid malathi malik malini mallika manickam manimaran manisha
    manoj mansor marcus mardiana margaret margret maria mariam mariamah marianne marican marie marilyn marissa mark
    marlene marliana marlina martin marvin marvyn mary marzuki mashitah masitah maslinda mastura mathan matilda
    matthew maureen maurice max may mazlan mazlina mazni meena meera megan megat melati melinda melissa melvin
    melvyn menaka mervyn micah michael michelle mike mikhail milly mindy mira mirza mizan mohamed mohammad mohammed
    mohan mohana mohd mokhtar monica muhaimin muhamad muhammad mukhriz mumtaz muniandy munir munirah murali murugan
    mushtaq mustafa muthu muthulakshmi myra nabil nabila nabilah nadhirah nadia nadiah nadine nadira nadzirah
    nagarajan naim najib najihah nalina nalini nancy naomi narayanan narissa nasir natalia natalie natasha natasya
    nathan nathaniel naveen nazifah nazim nazirah nazri nazrin neha neil nellie nelson nerissa nicholas nicola
    nicolas nicole nigel nimal niranjan nirmala nisa nisha nithya nitin nizam noah noel noorul nora noraini
    norashikin noreen norhayati norita norizan norlela norliza norma normah norman nornajwa nur nuraini nurfarah
    nurhidayah nurin nursyafiqah nurul nurulhuda odette oliver olivia omar ophelia oscar osman owen padma padmini
    pamela patricia patrick patsy paul pauline pavithra peggy penny perlin perry perumal peter petrina philip phoebe
    phyllis pooja prabakaran prabha prabhu pradeep pragash prakash pramila prasad preethi preeti prema premala
    priscila priscilla priya priyanka punitha puspa puvan qadir qamar qistina quentin rachael rachel raden radha
    rafael raffi rafidah rafiq rahim rahman rahmat raihan raihana rajeev rajendran rajesh rajeswari rakesh ramasamy
    ramesh ramli ramona ramya rani ranjeet ranjit rashid rashidah rashmi ratna raudhah ravi ravindran ray raymond
    raymund razak razali razif rebecca reena regina rekha renuka reshma reuben rex reza rezal rhoda richard ridhwan
    ridzuan rini rishi rita rizal rizwan robbie robert robin rodney roger rohaizad rohana rohani rohaya rohit roland
    rolanda ronald ronan ronnie ronny roopa ros rosa rosalie rosalind rosaline rosanne rosdi rose roselyn roshan
    roshini rosie roslan roslee rosli roslina roslyn rosmah rosmawati rosmini rosnah rosnani rowena roy rozana
    rozita rubiah rubini ruby rudy rukhsana rukmini rusli russell ruth ryan sabariah sabri sabrina sadhana sadia
    sadie sadiq saffiya safiah safwan sahil saifuddin saiful saira sakinah salbiah salihah salim salina salleh sally
    salmah salwa sam samad samantha samirah samuel sandra sandy sangeetha sanisah sanjana sanjay sanjeev santha
    santhi sarah sarala saraswathy saravanan sarina sarjit sasha sasi sathiaseelan sathish sathya satish sean
    sebastian seetha selina selvam selvaraj selvi senthil serene serina shaari shafie shafiee shafinaz shafiq
    shahida shahidah shahidan shahira shahril shahrizal shahrul shaik shaireen shakila shakir shalini shamala
    shamini shamsul shanaz shane shankar shanmugam shannon shanthi shanti sharifah sharina sharmila sharmini sharon
    sharul shathish shawn sheena sheikh sheila shereen sherlyn shermaine sherry shida shiela shirin shirley shobana
    shubashini shukri sidney silvia simon simone sindhu sinthia siti siva sivakumar sivanesan sofea sofia sofiah
    sofiyah sonia sophia sophie sriram stanley stefan stella stephanie stephen steve steven stuart subashini subra
    subramani sudha sufian suganthi sugu suhaila suhaimi suhana sujatha sukhdev sulaiman sulaimi suman sumathi
    sumitra sundari sunil sunita suraya suresh suriani surinder surya susan susila suzanne syafika syafiq syafiqah
    syahirah syahmi syakir syakirah syamsul syarifah sybil syed sylvia syuhada tabitha tania tasha terence teresa
    terrence terry tessa thana thanaraj tharani thavamani theodore theresa thilaga thiru thivya thomas tiffany tim
    timothy tina toby tom tony tracy trevor tricia trisha trixie troy tyler uma umar ursula usha uthaya valencia
    valerie valli vanessa vani vanitha vasantha vasanthi vasuki veera velu veni venkat venugopal vera vernon
    veronica vicky victor victoria vijay vijaya viknesh vikneswaran vikram vimal vimala vince vincent vinesh vinod
    vinoth viola vishnu viswanathan vivek vivian vivien vivienne wafi wahid wahida walter wan wardah warren wayne
    wendy wesley widya wilfred wilhelmina william willie wilma wilson winifred winnie winston xavier yahya yani
    yanti yasir yasmeen yasmin yasmine yati yogesh yogeswari yolanda yuliana yusri yusrizal yusuf yuvaraj yuvarani
    yvette yvonne zabidi zachary zack zaharah zahari zahid zahra zaid zaidah zaidi zainab zainal zaini zainudin
    zaiton zakaria zaki zakiah zakir zaleha zamani zamri zanariah zara zarina zarith zawawi zawiyah zhafran zikri
    zoe zubaidah zuhaila zuhairi zul zulaiha zulaikha zulfadli zulhilmi zulkifli zuraidah zuraini
    """.split()  # noqa: SIM905 - a list of words reads better as words
)

# Capitalised words that follow "call", "ask for", "this is" or a title and are no one's name.
NOT_NAMES = frozenset(
    """
    a abang able about account accountant accounts acrylic ada adalah address adhesive adik admin administration
    afraid after afternoon again ah airport akan alam all allergic already also aluminium always am amex ampang an
    anak and any anybody anyone apr april arabic aramex are as asap asia asking assistant assorted at audit aug
    august auntie aunty available avenue aware awful ayah back bad bagasse bags bahagian bakers bakery bamboo bank
    bapa bar based batam bay bays bean beans because bedok beehoon been before beijing bento best bhd billing
    biodegradable bishan bistro black blk block blue boleh bos boss bot both bowl bowls box boxes boy branch bread
    bro broken brother bubble buddhist buddy buffet bugis bulk burger but by cafe cake call calling cambodian can
    canberra cancel canteen cardboard cards careful carousell carton cartons cashier cashiers catering center
    central centre changed changi chat cheap checking chef cheras chilled china chinatown chinese chongqing
    christmas cik cimb city cleaner clear clementi clerk clients closed co coffee cold colleague colleagues color
    colour company compostable confirm confused contact container containers cook cooking corner corporate counter
    counters courier couriers cousin crockery cup cups currently customer customers cuti cutlery cyberjaya dad
    damaged dan dari darling date daughter dbs dealer dear dec december deepavali deli deliveroo delivery dengan
    department dept desserts detpak dhl di did dinner director disappointed dispatch distributor do doctor does
    dover dr drinks driver dude duitnow duplicate durian each eco email encik english enquiries enquiry esok eunos
    evening events every everybody everyone everything extra extremely facebook fairprice false father fedex fiesta
    filipino finance fine first floor foil folks following food foodpanda foods fork forks fortnight free fresh fri
    friday friend friends from frozen frustrated full furious further gate gdex general gentlemen gents getting
    geylang girl giro glad gloves gmail going gold golden good goods google grab grade granted great green grill
    guard guy guys habis had hajah haji halal halaman half hand hands happy hari has have having hawker he hello
    help helper her here hi him hindu his hokkien holland hopeless horrible hot hotel hotline hougang house how hq
    hr hsbc hub hubungi huhtamaki hungry husband i ialah ibu ice if ikea immediately impossible in incorrect india
    indian indonesia indonesian info ini instagram insurance interested interestingly intern introduction invoice
    ipoh is islam isteri it item its itu jabatan jan janio january japan japanese jaya jb jinan jnt johor juga jul
    july jun june jurong just kajang kak kakak kallang kami kampung kasih katong kawan ke kecewa kedai keen kepada
    kerani kertas kfc khidmat kinabalu kindly kiosk kitchen kl klang knives kopi korea korean kosong kota kotak
    kraft kranji kuala kuantan kuching kuih kulai la lactose ladies lady lah lakeside lalamove landlord larkin later
    latest lavender lazada lebar legal let level lid lids lift line linen loading lobby locals located logistics
    longan looking lor lost loyang ltd lumpur lunch machine machines madam mahu main makan malay malaysia malaysian
    malaysians mall man management manager mandai mandarin mar march marina marketing masai mastercard mate maxwell
    may maybank maybe mcdonald mdm me melaka member members membership merah metal metro minimum ministry miri miss
    mister mixed mobile mom mon monday more morning mother motorola mr mrs ms muar mum muslim my nak name nanjing
    napkin napkins nasi natural need neighbor neighbour neither nephew nets never new newest next niece ninja
    ninjavan no nobody none noodle noodles nordic normal normally north northern norway not noted nov november
    novena now number nurse nursery nurses nursing o ocbc oct october of office often ok okay old on one online only
    operations operator ops or orang orchard order ordered ordering orders original our out outdoor outlet outram
    outside oversea overseas owner packaging packers packing pada paid pak pallet pallets panjang paper papers
    partner partners party pasir paya paylah payment paynow payoh paypal pcs pe pejabat pelanggan pembelian pemilik
    penang penerima pepper penghantaran pengurus pengurusan penutup penyelia person pesanan pet petaling phone pickup
    pihak
    pink pioneer pizza pla placing plain plastic plate plates please pls plus pos posb poslaju powder premium pretty
    price printed printer pro procurement procuring product production prof professor promo promotion promotions
    prompt proper pte puan puas puchong punggol purchaser purchasing putrajaya qc qty quality quantity queenstown
    quick quite qxpress raffles rakan ramadan ramadhan rather raya ready really receiver receiving reception
    recipients recycled red redhill redmart refund regarding regards regular replacement reseller restaurant ribbon
    rice rider ridiculous right ris rm road robot roll rolls rotten round rude running sabah salad sales salesman
    same samples sarawak sat satay saturday sauce sauces saya scan seafood seal secretary section security see
    selangor seletar seller sellers sembawang senai send sending sengkang sept september serangoon seremban service
    services shah shanghai she sheets shenzhen shocked shop shopee shoppers shortly siglap sila silver simei simple
    since singapore singaporean singaporeans singpost sir sis sister size skudai sleeve sleeves small smart snack
    snacks so some somebody someone son soon sorry speaking spicy spoon spoons square staff staffs stall stalls
    starbucks starch starting sticker stickers still stock store storekeeper stores straw straws street strict
    stripe student students suami subang sugar sugarcane summer sun sunday sunny sunshine sup supervisor supplier
    suppliers support sure surprised sushi syarikat table tables tak takeaway tamil tampines tanah tanjong tape
    tapes tea team technician tel tell tentatively terima terminal terrible test thai thailand than thank thanks
    that the their them then there these they thick thin this through thu thursday tianjin tidak tiktok timah tin
    tissue tissues tmr to toa toast today tolong tomorrow tonight too top total tower tradehub transparent transport
    tray trays tria true trying tuan tuas tues tuesday twin typo ubi unable unacceptable unbelievable unbleached
    uncle unhappy unit until untuk uob up ups upset urgent urgently us using usual utensils valued vegan vegetarian
    vendor vendors very vietnam vietnamese vip visa waffle wait waiting warehouse was waxed we wed wednesday weekly
    welcome were wet what whatsapp when where which white who whoever wholesale why wife will with woman wondering
    wood wooden woodlands worst would wrap wraps writing wrong xero yang yellow yes yesterday yet yishun you your
    yours zip
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
        "low sugar", "boon lay", "tiong bahru", "boon keng", "tai seng", "yew tee", "yio chu kang",
        "kim seng", "sin ming", "pek kio", "tai wah", "kai tak", "shah alam", "park hotel", "may day", "lee hwa",
    }
)  # fmt: skip

# Dishes, drinks and teas of Chinese syllables, each written like a given name or a surname and a name.
DISHES = frozenset(
    {
        "bee hoon", "kai lan", "kang kong", "xiao long bao", "chee cheong", "chee cheong fun", "yong tau", "teh peng",
        "teh bing", "teh siew", "siew yoke", "ngoh hiang", "tang yuan", "guo tie", "da hong pao", "long jing",
        "ling zhi", "luo han", "luo han guo", "yin zhen", "yuan yang", "san bei", "dan dan", "lam mee", "fu zhou",
        "bao bing",
    }
)  # fmt: skip

# Ordinary words that begin with a character that is a surname as well.
CHINESE_WORDS = frozenset(
    """
    马上 马路 方式 方便 方法 方面 方向 方形 金额 金色 白色 黄色 白天 白纸 高兴 高一 高点 钱包 余额 任何 毛巾
    温度 温水 万一 于是 何时 许多 严重 谢谢 段时 石头 江边 江苏 张贴 张家 关于 关门 关店 关系 关闭 关机 简单 麦片 甘蔗
    梅花 梅子 章程 凌晨 连接 连续 连同 连锁 麦当 游客 金属 黄金 黄油 高峰 常常 路口 方案 许可 高达 高于 白糖 金色 梁上
    高层 高筋 高温 高低 高脚 高汤 高粱 高级 白卡 白板 白醋 白酒 白菜 白砂 白胡 白芝 白边 白底
    白茶 白盒 蓝色 蓝莓 龙虾 龙井 龙眼 龙须 陶瓷 丁腈 丁香 何种 金沙 金桔 金针 金枪 金边 万记
    万圣 万能 黄纸 黄豆 黄瓜 黄酒 黄糖 毛毯 毛笔 毛刷 方盒 方盘 方碗 方巾 方糖 方块 方才 石榴
    石锅 甘草 温馨 温控 梅干 梅菜 简装 简易 麦芽 夏天 牛皮 汤匙 汤底 汤包 汤圆 汤锅 汤料 汤汁
    马铃 马克 马蹄 马来 苏打 罗汉 罗勒 陈皮 陈醋 韩国 韩式 余下 余款 杨梅 杨桃 李子 胡椒 胡萝
    任意 任务 曾经 符合 顾客 顾问 江鱼
    """.split()  # noqa: SIM905 - a list of words reads better as words
)

CHINESE_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟"
    "熊秦邱江赖萧阮詹凌关简麦甘伍梅霍骆纪涂俞殷鲍岑祝聂尤辜邝柳冼尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤洪翁颜柯庄符傅温施欧蓝卓陳張劉楊黃趙吳孫馬羅鄭謝許韓馮鄧葉蘇魏呂盧鐘譚陸龍賴蕭溫關簡麥紀塗聶鄺龔顏莊歐湯駱"
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
_ORDINARY = (
    "ous", "able", "ible", "less", "tion", "sion", "ness", "ment", "ally", "ively", "ously", "ingly", "ity", "ship",
    "ware", "ance", "ence", "ing", "ed",
)  # fmt: skip
_SHORTEST_ORDINARY = 5
# How Malay, Arabic and Indian names begin and end that no list holds.
_FORM = re.compile(
    r"[a-z]{2,}(?:zwan|fwan|dhwan|zuan)|(?:nur|nor|noor|siti|khair|muham|moham|abdul|shahr|syar|syaz|syah|zul|faiz|haf[iy]z|naz|saiful|kamar|fakhr|badr)"
    r"[a-z]{2,}|"
    r"[a-z]{2,}(?:ud{1,2}in|ullah|rahman|izzah|[iy]zah|izan|rizal|irul|wati|watie|syah|hayati|ainah|ilah|aidah|idah|iyah|"
    r"azlin|swaran|sh?wari|kumar|nathan|samy|sami|lingam|priya|krishnan|waran|esan|[vw]athy|selvan|rajan|raju|jeet|preet|"
    r"inder|linda|chandran|murthy|lakshmi|thevi|devi|veni|malar)"
)
_SHORTEST_JOINED = 5


def is_ordinary(word: str) -> bool:
    """True for a lower-case word that is no name by the lists, or by its ending."""
    if word in NOT_NAMES:
        return True
    ordinary = word.endswith(_ORDINARY) and len(word) >= _SHORTEST_ORDINARY and not word.endswith("eed")
    return ordinary and not has_form(word)


def has_form(word: str) -> bool:
    """True for a lower-case word that is a known given name or is made like one: Hafizuddin, Vikneswaran, Peiling."""
    return word in GIVEN or _FORM.fullmatch(word) is not None or _is_joined(word)


def _is_joined(word: str) -> bool:
    """Two syllables of a Chinese given name written as one word."""
    return len(word) >= _SHORTEST_JOINED and any(
        word[:at] in SYLLABLES and word[at:] in SYLLABLES for at in range(2, len(word) - 1)
    )


def is_dish(words: Sequence[str]) -> bool:
    """True when lower-case words begin with a dish of Chinese syllables."""
    return " ".join(words[:2]) in DISHES or " ".join(words[:3]) in DISHES


def is_like(written: str) -> bool:
    """True when capitalised words are a known name or have the form of one: what no list holds but a reader sees."""
    first, *rest = words = _BETWEEN_WORDS.split(written.lower())
    if rest and is_dish(words):
        return False
    if first in GIVEN and first not in NOT_NAMES:
        return True
    if len(rest) in {1, 2} and all(word in SYLLABLES or word in SURNAMES for word in (first, *rest)):
        return written.lower() not in NOT_PEOPLE
    return first not in NOT_NAMES and (has_form(first) or (first in SURNAMES and bool(rest)))


_BETWEEN_WORDS = re.compile(r"[ \t\-]+")


def is_known(written: str) -> bool:
    """True when the words begin with a known given name, or with a known surname and another part of a name behind
    it: many surnames are ordinary words too ("brown sugar", "low protein", "teh tarik")."""
    first, *rest = words = _BETWEEN_WORDS.split(written.lower(), 2)
    if first in GIVEN:
        return True
    return first in SURNAMES and bool(rest) and _is_part(rest[0]) and not is_dish(words)


def _is_part(word: str) -> bool:
    return word in SYLLABLES or word in SURNAMES or (word not in NOT_NAMES and has_form(word))
