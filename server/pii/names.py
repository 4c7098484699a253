"""Word lists behind the recogniser of names: common surnames and given names of Singapore and Malaysia, and words
that are written like names and are none. Lists of words that everybody shares, of nobody in particular."""

from __future__ import annotations

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
    aaron abigail adam adeline adrian agnes aidan aiman aisyah alan albert alex alexander alexis alfred alia
    alice alicia alvin amanda amelia aminah amir amira amy andrea andrew andy angela angeline anita ann anna
    anne annie anthony anwar april arjun arthur ashley audrey aziz azizah azlan azman balan barbara bella ben
    benedict benjamin benny bernard bernice bob brandon brenda brian bryan calvin candice carol caroline
    catherine chandra charlene charles charlotte cheryl chloe chris christina christine christopher cindy claire
    clara clarence cliff colin connie crystal cynthia daisy daniel danny darren david dawn dean deborah deepa
    dennis derek derrick desmond devi diana dinesh divya dominic donald doris dorothy douglas edmund edward
    edwin elaine elena elizabeth ellen elsa emily emma eric erica esther ethan eugene eva evelyn faith faizal
    farah farid faridah fatimah fauzi felicia felix fiona florence frances francis frank gabriel ganesh gary
    gavin george gerald germaine gilbert gina glenn gloria gordon grace graham gregory hafiz hafizah hakim
    hannah harold harry hazel haziq helen henry hidayah hui ian iman ingrid irene irfan isaac isabel isabelle
    iskandar ivan ivy izzah jack jackie jacob jaime james jamie jane janet janice jared jasmine jason jean
    jeffrey jega jennifer jenny jeremy jerry jesse jessica jessie jill jim jimmy joan joanna joanne joe joel
    johari john johnny jolene jonathan joseph josephine joshua joy joyce judy julia julian julie justin kaitlyn
    kamal karen karthik kartini kate katherine kathy kavitha keith kelly kelvin ken kenneth kenny kevin khairul
    kim kimberly kiran kumar lakshmi larry latifah laura lauren lawrence leon leonard leslie lily lina linda
    lisa louis louise lucas lucia lucy luke luther lydia lynn mabel maggie mahathir malik marcus margaret maria
    mariam marie mark martin marvin mary matthew maurice max may megan melissa melvin michael michelle mike
    mindy mira mohamed mohammad mohammed monica muhammad murugan muthu nabila nadia nadiah nadine najib nancy
    naomi natalie natasha nathan naveen nazri neil nelson nicholas nicole nigel nisa noah nora norhayati norma
    norman nur nurul odette oliver olivia oscar owen pamela patricia patrick paul pauline peggy penny peter
    philip phoebe priscilla priya quentin rachel rahim rahman rajesh ramesh rani rashid ravi ray raymond razif
    rebecca regina reuben rex richard rita rizal robert robin roger rohani ronald ronnie rosa rosalind rose
    roslan roslina rosmah rosnah roy ruby russell ruth ryan sabrina sadie sally salmah sam samantha samuel
    sandra sandy sanjay sanjeev sarah sasha sean sebastian selina selvi serene shafiq shahrul shalini shanti
    sharifah sharon shawn sheila sherry shirley sidney simon siti sofia sonia sophia sophie stanley stella
    stephanie stephen steve steven stuart suhaimi sumathi sunil suresh susan suzanne syafiq syafiqah sylvia
    tania terence teresa terry thana thomas tiffany tim timothy tina toby tom tony tracy trevor troy tyler uma
    ursula valerie vanessa vani vera vernon veronica victor victoria vijay vikram vincent viola vivian walter
    wan wayne wendy wilfred william willie wilson winnie xavier yasmin yolanda yusuf yvonne zachary zack zahid
    zainab zaini zaleha zara zoe zulkifli
    """.split()  # noqa: SIM905 - a list of words reads better as words
)

# Capitalised words that follow "call", "ask for", "this is" or a title and are no one's name.
NOT_NAMES = frozenset(
    """
    a able about centre center account accounts ada adalah address admin administration afraid after again ah
    akan all allergic already also am an and any anyone apr april are as asap asking at aug august available
    avenue aware back bank based because bedok been before billing bishan blk block boleh boss both box boxes
    branch bugis but by call calling can central checking chef chinese christmas cik city clementi co color
    colour company confirm contact counter currently customer customers dan dari date dear dec december
    deepavali deliveroo delivery dengan department dept di did disappointed do does driver each email encik
    english enquiries enquiry esok every everyone everything facebook following foodpanda fri friday from full
    further general getting geylang glad gmail going good google grab great had halal half happy hari has have
    having he hello help her here hi him his hotline hougang how hubungi i ialah if in info ini instagram
    interested invoice is it item its itu jan january juga jul july jun june jurong just kami kasih ke kepada
    kindly kitchen la lah later lazada let located logistics looking lor ltd madam mahu malay mall management
    manager mar march marina may maybe mdm me mobile mon monday more morning mr mrs ms my nak name need new next
    no none not nov november novena now number o oct october of office ok okay on one only operations or orchard
    order ordering orders our out outlet outram outside pada payment payoh pcs pesanan phone pizza placing
    please pls plus price product pte puan punggol purchasing qty quantity queenstown quick raya ready really
    reception redhill refund regarding regards replacement restaurant right road running sales same sat saturday
    saya section security see send sending sengkang sept september serangoon service services she shop shopee
    shortly sila singapore sir size so some someone soon sorry speaking staff starting still stock store stores
    street sun sunday sunny sup supervisor support sure tak tampines team tel tell tentatively terima than thank
    thanks that the their them then there these they this thu thursday tidak tmr to toa today tolong tomorrow
    tonight too total trying tuan tues tuesday unable uncle unhappy unit until untuk up urgent urgently us using
    vegetarian very wait waiting warehouse was we wed wednesday were what whatsapp when where which who why will
    with wondering woodlands would writing xero yang yes yesterday yet yishun you your yours
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

CHINESE_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟"
    "熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤洪翁颜柯庄符傅温施欧蓝卓陳張劉楊黃趙吳孫馬羅鄭謝許韓馮鄧葉蘇魏呂盧鐘譚陸龍"
)
