"""Word lists behind the recogniser of names: common surnames and given names of Singapore and Malaysia, and words
that are written like names and are none. Lists of words that everybody shares, of nobody in particular."""

from __future__ import annotations

import re

SURNAMES = frozenset(
    """
    abdullah ahmad anderson ang au aw aziz bakar balakrishnan boey bok boon brown cai cao chan chang cheah chen
    cheng cheong cher cheung chew chia chiam chin chng chong choo choong choy chua clark cruz davies davis deng
    ding dong dsouza du edwards eng evans feng fernandez fernando fong foo fu gan gao garcia goh gomez guo gupta
    gwee hamid han harris hartono hassan heng ho hoe hong hu huang hughes ibrahim ismail jackson jiang johnson
    jones kang kaur kho khoo kim koh kong krishnan kumar kwan kwek kwok lai lam lau lee leong leow lewis liang
    liew lim lin liu loh loke low lu lum luo ma mah martin martinez menon miller mohamed mok nair neo ng nguyen
    oh ong ooi osman othman pan pang park patel peh peng pereira pham phua pillai poh quek rahman raj rajan raju
    razak ren reyes roberts robinson rodrigues salleh santos santoso sato seah sharma shen sim singh smith sng
    soh song soon su subramaniam sun suzuki tan tanaka tang tay taylor teo tham thia thomas thompson tian toa
    toh tong tran walker wang wee wei wijaya williams wilson wong wright wu xiao xie xu yang yao yap ye yeo yeoh
    yong yu yuan yusof zeng zhang zhao zheng zhou zhu
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
    aaron abdul abigail adam adeline adrian agnes aidan aiman aisyah alan albert alex alexander alexis alfred
    alia alice alicia alvin amanda amelia aminah amir amira amirah amit amy anand andrea andrew andy angela
    angeline anita ann anna anne annie anthony anwar april arjun arthur arun arvind ashley audrey azhar aziz
    azizah azlan azman azmi badariah badrul balan barbara bella ben benedict benjamin benny bernard bernice bob
    brandon brenda brian bryan calvin candice carol caroline catherine cedric chandra charlene charles charlotte
    charmaine cheryl chloe chris christina christine christopher cindy claire clara clarence claudia cliff colin
    connie crystal cynthia daisy damian daniel danielle danny darren daud david dawn dean deborah deepa deepak
    dennis derek derrick desmond devi diana dinesh divya dominic dominique donald doris dorothy douglas dylan
    edith edmund edward edwin eileen elaine elena elijah elizabeth ellen elsa emily emma eric erica esther ethan
    ethel eugene eva evan evelyn faith faiz faizal farah farid faridah fatimah fauzi felicia felicity felix
    fiona florence frances francis frank freddie gabriel ganesan ganesh gary gavin george gerald germaine
    gilbert gina glenn gloria gordon grace graham gregory gwen hafiz hafizah hakim halim hamzah hannah harold
    harry harun hashim hasnah hassan hazel haziq helen henry hidayah hisham hugo hui husin hussein ian idris
    iman ingrid irene irfan isaac isabel isabelle iskandar ismail ivan ivy izzah jack jackie jacob jaime jamal
    james jamie jamil jamilah jane janet janice jared jasmine jason jean jeffrey jega jennifer jenny jeremy
    jerry jesse jessica jessie jill jim jimmy joan joanna joanne jocelyn joe joel johari john johnny jolene
    jonathan joseph josephine josh joshua joy joyce judy julia julian julie justin justina kadir kaitlyn kamal
    karen karim karthik karthika kartini kasturi kate katherine kathy kavitha kayla keith kelly kelvin ken
    kenneth kenny kevin khairul kim kimberly kiran kumar lakshmi lance larry latif latifah laura lauren lawrence
    leah leon leonard leslie lester letchumi lily lina linda lionel lisa louis louise lucas lucia lucy luke
    luther lydia lynn mabel magdalene maggie mahathir maimunah majid malik manoj mansor marcus margaret maria
    mariam marie marilyn mark martin marvin mary matilda matthew maurice max may meena megan melati melinda
    melissa melvin michael michelle mike mindy mira mohamed mohammad mohammed mohan mohd monica muhamad muhammad
    murali murugan mustafa muthu myra nabila nadia nadiah nadine najib nalini nancy naomi natalie natasha nathan
    naveen nazri neha neil nelson nicholas nicole nigel nisa nizam noah noel nora noraini norhayati norma normah
    norman nur nurul odette oliver olivia ophelia oscar osman owen padma pamela patricia patrick paul pauline
    peggy penny perry peter philip phoebe pooja prakash priscilla priya quentin rachael rachel rahim rahman
    rahmat rajesh ramesh ramli ramya rani rashid ravi ravindran ray raymond razif rebecca regina reuben rex
    richard ridzuan rita rizal robert robin roger rohani rohit ronald ronnie ros rosa rosalind rosanne rose
    roslan rosli roslina roslyn rosmah rosnah rowena roy rozita ruby russell ruth ryan sabrina sadie saiful
    salim salina sally salmah sam samantha samuel sandra sandy sanjana sanjay sanjeev sarah sasha sathish sean
    sebastian selina selvam selvi serene shafiq shahril shahrul shalini shane shankar shannon shanti sharifah
    sharon shawn sheila shermaine sherry shirley sidney simon siti siva sofia sonia sophia sophie stanley stefan
    stella stephanie stephen steve steven stuart suganthi suhaimi sulaiman sumathi sunil sunita suraya suresh
    susan suzanne syafiq syafiqah sylvia tania terence teresa terry thana theresa thiru thomas tiffany tim
    timothy tina toby tom tony tracy trevor tricia troy tyler uma ursula usha valencia valerie vanessa vani veni
    vera vernon veronica victor victoria vijay vikram vimala vince vincent vinod viola vishnu vivian wahid
    walter wan wayne wendy wesley wilfred william willie wilson winifred winnie winston xavier yahya yasmin
    yogesh yolanda yusuf yvette yvonne zachary zack zaharah zahid zainab zainal zaini zaki zaleha zara zarina
    zoe zulkifli zuraidah
    """.split()  # noqa: SIM905 - a list of words reads better as words
)

# Capitalised words that follow "call", "ask for", "this is" or a title and are no one's name.
NOT_NAMES = frozenset(
    """
    a abang able about account accounts ada adalah address admin administration afraid after again ah akan all
    allergic already also am an and any anybody anyone apr april are as asap asking at aug august auntie aunty
    available avenue aware back bakery bank bar based bean beans because bedok been before bento billing bishan
    bistro blk block boleh boss both box boxes branch bread bugis burger but by cafe cake call calling can
    canteen center central centre checking chef chinese christmas cik city clementi co coffee color colour
    company confirm contact counter currently customer customers dan dari date dear dec december deepavali
    deliveroo delivery dengan department dept di did disappointed do doctor does dr driver each email encik
    english enquiries enquiry esok every everyone everything facebook false finance fine following foodpanda fri
    friday from full further general getting geylang glad gmail going good google grab great grill had hajah
    haji halal half happy hari has have having he hello help her here hi him his hotel hotline hougang how hr
    hubungi i ialah if in info ini instagram interested invoice is it item its itu jan january juga jul july jun
    june jurong just kak kami kasih ke kepada kindly kitchen kopi la lah lalamove later lazada legal let located
    logistics looking lor ltd madam mahu malay mall management manager mar march marina marketing may maybe mdm
    me miss mister mobile mon monday more morning mr mrs ms my nak name need new next no nobody none noodle
    noodles not noted nov november novena now number o oct october of office ok okay on one only operations or
    orchard order ordering orders our out outlet outram outside pada pak payment payoh pcs pesanan phone pizza
    placing please pls plus price procurement procuring product prof professor pte puan punggol purchasing qc
    qty quality quantity queenstown quick raya ready really reception redhill refund regarding regards
    replacement restaurant rice right road running sales same sat saturday saya section security see send
    sending sengkang sept september serangoon service services she shop shopee shortly sila singapore sir size
    so some somebody someone soon sorry speaking staff starting still stock store stores street sun sunday sunny
    sup supervisor support sure sushi tak tampines tea team tel tell tentatively terima than thank thanks that
    the their them then there these they this thu thursday tidak tmr to toa today tolong tomorrow tonight too
    total true trying tuan tues tuesday unable uncle unhappy unit until untuk up urgent urgently us using
    vegetarian very wait waiting warehouse was we wed wednesday were what whatsapp when where which who whoever
    why will with wondering woodlands would writing xero yang yes yesterday yet yishun you your yours
    """.split()  # noqa: SIM905 - a list of words reads better as words
)

# Given names that are ordinary words when they are not capitalised.
WORDS_TOO = frozenset(
    """
    angel art bill bob cliff crystal daisy dawn dean faith frank gene glen grace grant hazel ivy jack jade jasmine
    joy lance lily mark max may mike miles noel penny ray rich robin rose ruby sally shane sunny victor wade will
    """.split()  # noqa: SIM905 - a list of words reads better as words
)

# Places and brands that look like a surname and syllables.
NOT_PEOPLE = frozenset(
    {
        "ang mo kio", "lim chu kang", "choa chu kang", "lee kum kee", "tan tock seng",
        "chin swee road", "hong leong bank", "yong tau foo",
        "wan tan mee", "kong guan", "ho chi minh", "hong kong", "pu er", "kim chuan",
        "ng teng fong", "tai sun", "lau pa sat", "toa payoh", "yong he",
        "teo chew", "kway teow", "koh lanta", "sin ming", "han sin", "low fat",
        "low sugar", "park hotel", "may day", "lee hwa",
    }
)  # fmt: skip

# Ordinary words that begin with a character that is a surname as well.
CHINESE_WORDS = frozenset(
    """
    马上 马路 方式 方便 方法 方面 方向 方形 金额 金色 白色 黄色 白天 白纸 高兴 高一 高点 钱包 余额 任何 毛巾
    温度 温水 万一 于是 何时 许多 严重 谢谢 段时 石头 江边 江苏 张贴 张家
    """.split()  # noqa: SIM905 - a list of words reads better as words
)

CHINESE_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟"
    "熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤洪翁颜柯庄符傅温施欧蓝卓陳張劉楊黃趙吳孫馬羅鄭謝許韓馮鄧葉蘇魏呂盧鐘譚陸龍"
)


_BETWEEN_WORDS = re.compile(r"[ \t\-]+")


def is_known(written: str) -> bool:
    """True when the words begin with a known given name, or with a known surname and more follows."""
    first = _BETWEEN_WORDS.split(written, 1)[0].lower()
    return first in GIVEN or (first in SURNAMES and " " in written)
