"""What the traces are about: the applications of three teams, and how a trace may end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Intent:
    """What a user wants. The texts are templates over the slots of the domain."""

    name: str
    topic: str  # how the title of a mixed trace refers to it
    tools: tuple[str, ...]
    titles: tuple[str, ...]
    results: tuple[str, ...]  # how a title may end when all went well
    asks: tuple[str, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """How a trace ends, whatever it was about. The texts are templates as well."""

    name: str
    weight: float
    notes: tuple[str, ...]
    endings: tuple[str, ...] = ()  # of the title; none: one of the intent's own results
    steps: tuple[str, ...] = ()
    tool: str = ""  # comes last in the flow
    repeats: int = 1  # how often a tool is called in a row at most
    fails: bool = False  # one generation of the trace is an error


@dataclass(frozen=True)
class Domain:
    """The application of one team."""

    team_id: int
    traces: int
    intents: tuple[Intent, ...]  # the most frequent first
    common_tools: tuple[str, ...]
    chatter: tuple[str, ...]  # bullets of any intent
    slots: Mapping[str, str]  # values divided by |; the names "a b" draw a pair "1/2"
    surges: Mapping[str, float] = field(default_factory=dict)  # intents that grow in the last days


def parse_intents(text: str) -> tuple[Intent, ...]:
    """Read intents, a paragraph each: `name; topic; tools`, then lines of alternatives.

    Lines begin with = (titles), + (results), ? (what the user asks) or - (what happens next).
    """
    return tuple(_parse_intent(paragraph) for paragraph in text.strip().split("\n\n"))


def _parse_intent(paragraph: str) -> Intent:
    header, *lines = paragraph.splitlines()
    name, topic, tools = header.split("; ")
    texts: dict[str, tuple[str, ...]] = {}
    for line in lines:
        texts[line[0]] = (*texts.get(line[0], ()), *line[2:].split(" | "))
    return Intent(name, topic, tuple(tools.split()), texts["="], texts["+"], texts["?"], texts["-"])


OUTCOMES = (
    Outcome("resolved", 0.61, notes=("Resolved without escalation", "The user says thanks")),
    Outcome(
        "tool error",
        0.11,
        endings=("{system} times out", "{system} error", "{system} fails twice"),
        steps=("A call to the {system} fails with a timeout and is tried again.",),
        notes=("Tool error: upstream returned 502", "Tool timed out after 30 s"),
        repeats=3,
        fails=True,
    ),
    Outcome(
        "escalated",
        0.11,
        endings=("handed to human {expert}", "{expert} takes over"),
        steps=("{helper} cannot settle it and hands over to a human {expert}.",),
        notes=("Escalated to a human", "The user is frustrated"),
        tool="escalate_to_human",
    ),
    Outcome(
        "hallucination",
        0.06,
        endings=("{helper} invents {fiction}", "{helper} misremembers {fiction}"),
        steps=("{helper} relies on {fiction} that does not exist.",),
        notes=("Possible hallucination: the answer refers to {fiction} that does not exist",),
    ),
    Outcome(
        "loop",
        0.05,
        endings=("{helper} repeats itself", "{helper} runs in circles"),
        steps=("{helper} asks again for what was given in the first message.",),
        notes=("Stuck in a loop of identical tool calls",),
        repeats=9,
    ),
    Outcome(
        "abandoned",
        0.06,
        endings=("user gives up", "conversation abandoned"),
        steps=("{who} stops answering after a long wait.",),
        notes=("Abandoned by the user",),
    ),
)

TRAVEL = Domain(
    team_id=1,
    traces=1500,
    intents=parse_intents(
        """
change a flight; a flight change; search_flights quote_price update_booking
= {who} asks to move {city} flight to {day} | Earlier {city} departure wanted on {day}
= {airline} flight to {city} rebooked after {reason} | {who} changes return date from {city}
= Same-day flight change requested for {city}
+ fare difference declined | rebooked same day | change fee waived
? {who} wants to move the {airline} flight to {city} from {day} to another date.
? {who} asks for a later flight home from {city} because of {reason}.
- Agent searches {airline} flights to {city} and offers three departures on {day}.
- Agent quotes a fare difference of {amount} plus the change fee.
- {who} accepts the new departure and pays the fare difference by {card}.
- {who} declines the fare difference and keeps the original flight.
- Agent updates the booking and sends the new flight itinerary.

refund status; a pending refund; get_payments lookup_policy
= {who} chases {amount} refund for canceled {city} flight | Where is my {airline} refund
= Refund still pending {count} days after cancellation
= {airline} voucher offered instead of {amount} refund | {who} wants cash refund after {reason}
+ refund confirmed | paid back within days | voucher accepted
? {who} canceled the {city} trip {count} days ago and has not received the refund.
? {who} asks why only part of the {amount} refund arrived on the {card}.
- Agent looks up the refund: {amount} was approved but not paid out yet.
- Agent explains that a refund to a {card} takes up to {count} business days.
- {airline} canceled the flight, so a full refund is due.
- Agent offers a travel voucher over {amount} in place of the refund.
- {who} asks for the refund reference to give to the bank.

lost baggage; a missing bag; trace_baggage open_case
= {who} reports {item} missing after {city} flight | Delayed {item} still in {city}
= Baggage claim for damaged {item} on {airline} | {airline} lost {item} during {city} connection
= {who} tracks lost luggage from {city}
+ bag found | report filed | delivery arranged
? {who} landed in {city} with {airline} and the {item} did not arrive.
? {who} filed a baggage report {count} days ago and has heard nothing since.
- Agent traces the bag by its tag number: last scanned in {city}.
- Agent files a property irregularity report for the {item}.
- Agent arranges delivery of the delayed luggage to the hotel on {day}.
- {who} asks for {amount} compensation for clothes bought meanwhile.
- Agent lists the receipts that the baggage claim needs.

book a hotel; a hotel room; search_hotels quote_price create_booking
= {who} books {nights} nights at {hotel} {city} | Hotel near {city} station under {amount}
= {hotel} reservation moved to {day} | {who} compares two hotels in {city}
= Late check-in arranged at {hotel} {city}
+ breakfast included | room confirmed | free cancellation chosen
? {who} needs a hotel room in {city} for {nights} nights from {day}.
? {who} asks whether {hotel} in {city} has family rooms with breakfast.
- Agent searches hotels in {city} and compares price, rating and distance.
- {hotel} has a double room at {amount} a night with free cancellation.
- {who} picks {hotel} and asks for a quiet room on a high floor.
- Agent books the room and sends the hotel voucher.
- Agent adds a note about late check-in for the front desk.

payment failure; a failed payment; get_payments retry_payment
= {card} declined while paying for {city} trip | Payment of {amount} charged twice by {airline}
= {who} cannot complete checkout with {card} | {card} verification fails during {city} booking
= Charge pending but {city} booking not confirmed
+ second attempt succeeds | duplicate charge reversed | other card works
? {who} tries to pay {amount} by {card} and checkout shows a declined payment.
? {who} was charged twice for the {city} booking on {day}.
- Agent finds the payment: the bank's card verification step did not complete.
- Agent sends a new payment link and holds the fare for {count} hours.
- The second charge of {amount} on the {card} is only an authorisation.
- {who} pays with another card and the booking is confirmed.
- Agent opens a case with the payment provider for the duplicate charge.

loyalty points; loyalty points; get_loyalty_account lookup_policy
= {points} loyalty points missing for {city} flight
= {who} redeems points for {city} award flight | {tier} status not shown in {airline} account
= Points expired before {who} could redeem them | {who} merges two {airline} loyalty accounts
+ points credited | status restored | award seat found
? {who} flew to {city} with {airline} and the {points} points were not credited.
? {who} wants to spend {points} points on an award ticket to {city}.
- Agent checks the loyalty account: {tier} tier, {points} points.
- Agent credits the missing points for the flight to {city}.
- Award seats to {city} cost {points} points plus {amount} in taxes.
- Agent explains that points expire after 24 months without activity.
- {who} asks how many tier points {tier} status still needs.

seat upgrade; a seat upgrade; get_seat_map quote_price update_booking
= {who} requests {cabin} upgrade to {city} | Upgrade to {cabin} with {points} points
= Window seats together on {airline} to {city} | {who} loses paid extra-legroom seat
= {tier} member asks for complimentary {cabin} upgrade
+ waitlisted | upgrade confirmed | seats assigned
? {who} asks what an upgrade to {cabin} on the {city} flight costs.
? {who} travels with children and wants seats together on {airline}.
- Agent opens the seat map: two {cabin} seats are left on the {city} flight.
- Agent quotes the upgrade at {amount} or {points} points a person.
- {who} is put on the upgrade waitlist with {tier} priority.
- Agent assigns window seats in row {count} free of charge.
- {who} wants the seat fee back after an aircraft change.

plan an itinerary; a day plan; search_flights search_hotels search_activities
= {nights}-day {city} itinerary for two adults | {who} plans rail trip from {city} via {town}
= Family holiday in {city} under {amount} | Weekend ideas for {city} and {town}
= {who} wants vegetarian food tour in {city}
+ plan saved | museum day added | budget kept
? {who} wants a {nights}-day plan for {city} with museums and local food.
? {who} asks for a route from {city} to {town} by train with stops.
- Agent proposes a day-by-day itinerary with museums, markets and a boat tour.
- {who} swaps the second day for a trip to {town}.
- Agent checks train times between {city} and {town}.
- Agent keeps the plan within a budget of {amount}.
- Agent adds restaurant suggestions near the {hotel}.

car hire; a rental car; search_cars quote_price create_booking
= {who} hires {car} at {city} airport | {supplier} deposit dispute over {car}
= One-way rental from {city} to {town} | {supplier} refuses {car} without credit card
= Child seat added to {car} rental
+ car confirmed | deposit released | insurance explained
? {who} needs a {car} in {city} for {nights} days with pick-up on {day}.
? {who} asks why {supplier} still holds the {amount} deposit.
- Agent compares rental prices for a {car} at {city} airport.
- {supplier} charges {amount} for a one-way return in {town}.
- Agent explains the collision damage waiver and the excess of {amount}.
- {who} adds a second driver and a child seat to the rental.
- Agent books the {car} with {supplier} and sends the pick-up voucher.

visa questions; entry rules; lookup_policy search_web
= Visa rules for {passport} passport entering {country}
= {who} asks about transit visa in {city}
= Passport expires {count} months before {country} trip
= {country} e-visa still pending before {day} departure
= Entry documents needed for child visiting {country}
+ no visa needed | embassy link shared | application link sent
? {who} has {passport} citizenship and asks if {country} requires a visa.
? {who} changes planes in {city} and asks about a transit visa.
- Agent looks up entry rules: {passport} citizens need a visa for {country}.
- A passport must be valid six months beyond arrival in {country}.
- Agent links the official e-visa application and its fee of {amount}.
- Agent lists the documents: photo, return ticket, hotel booking.
- Agent warns that it cannot give legal advice on immigration.

insurance claim; an insurance claim; lookup_policy open_case
= Travel insurance claim after {reason} in {city}
= {who} claims {amount} medical bill from {city} | Does cancellation cover include {reason}
= Insurance claim rejected for missing receipts | {who} adds annual travel cover for {country}
+ claim opened | receipts requested | cover confirmed
? {who} had to cancel the trip to {city} due to {reason} and is insured.
? {who} paid {amount} at a clinic in {country} and claims it back.
- Agent opens the policy: {reason} is covered up to {amount}.
- Agent creates the claim and asks for the medical report and receipts.
- {who} uploads the receipts and a letter from {airline}.
- The insurer needs {count} business days to decide on the claim.
- Agent explains the policy excess and what the cover leaves out.

special assistance; special assistance; lookup_policy update_booking
= {who} requests {need} for {city} flight | {airline} forgets {need} at {city} airport
= {need} approval needed before {day} departure
= Assistance for elderly parent traveling to {city} | {who} asks about flying with {need}
+ request added | form sent | gate assistance confirmed
? {who} flies to {city} and needs assistance: {need}.
? {who} books for a parent who cannot walk far at {city} airport.
- Agent adds a special assistance request for {need} to the booking.
- {airline} needs the medical form 48 hours before departure.
- Agent confirms help from check-in to the gate in {city}.
- Agent asks for the size and battery type of the mobility aid.
- {who} complains that no assistance was waiting on the last flight.
"""
    ),
    common_tools=("get_booking", "get_customer_profile"),
    chatter=(
        "{who} gives booking reference {ref} and the last name {name}.",
        "Agent verifies {name}'s identity by email address.",
        "Agent apologizes for the inconvenience and sums up the next steps.",
        "{who} asks for a confirmation by email.",
        "Agent finds the booking: {airline} to {city} on {day}, {cabin}.",
        "{who} asks to be called back before {day}.",
        "Agent sends a summary with case number {ref}.",
        "{who} wants to know whether the booking can still be canceled for a refund.",
        "Agent quotes a fee of {amount} and asks the {who} to confirm the payment by {card}.",
        "Agent checks the airline's policy for {tier} members.",
        "{who} has a hotel and a rental car on the same booking.",
        "{who} mentions a tight connection in {city} on {day}.",
    ),
    slots={
        "who": "customer | traveler | passenger | user | guest",
        "helper": "agent",
        "expert": "colleague | supervisor",
        "system": "booking system | supplier API | payment gateway",
        "fiction": "a policy | a deadline | a fee",
        "city country town": "Lisbon/Portugal/Porto | Oslo/Norway/Bergen | Nairobi/Kenya/Mombasa | "
        "Toronto/Canada/Montreal | Osaka/Japan/Kyoto | Athens/Greece/Delphi | "
        "Bogota/Colombia/Medellin | Mumbai/India/Pune | Seoul/Korea/Busan | Hanoi/Vietnam/Hue | "
        "Auckland/New Zealand/Rotorua | Lima/Peru/Arequipa | Cairo/Egypt/Luxor | "
        "Istanbul/Turkey/Bursa",
        "airline": "Norvia | Skylark | Aerolux | Bluewing | Halcyon | Transmar",
        "hotel": "Harbor Inn | Grand Palms | Casa Verde | Alpine Lodge | City Nest",
        "supplier": "Roadstar | Voltway | Kestrel Cars",
        "car": "compact car | minivan | convertible | hybrid | pickup truck",
        "day": "Monday | Tuesday | Wednesday | Thursday | Friday | Saturday | Sunday",
        "amount": "$45 | $84 | $120 | $215 | $340 | $512 | $760 | $1,180 | $2,300",
        "points": "4,200 | 8,000 | 12,500 | 38,000 | 60,000",
        "count": "3 | 5 | 9 | 12 | 21 | 30",
        "nights": "2 | 3 | 4 | 5 | 7 | 10",
        "name": "Okafor | Silva | Jansen | Haddad | Novak | Tanaka | Reyes | Larsen",
        "item": "suitcase | stroller | backpack | garment bag | guitar case | skis",
        "cabin": "premium economy | business | first class",
        "tier": "Silver | Gold | Platinum",
        "card": "credit card | debit card | gift card | virtual card",
        "passport": "British | Brazilian | Spanish | Indian | Nigerian | Filipino",
        "need": "wheelchair | service dog | oxygen concentrator | mobility scooter",
        "reason": "illness | bad weather | strike action | flight delays | surgery",
    },
    surges={"payment failure": 3.5},
)

CODING = Domain(
    team_id=2,
    traces=600,
    intents=parse_intents(
        """
debug a stack trace; a stack trace; read_file search_code run_command
= {error} in {module} service after deploy | Debugging {error} raised by {function}
= {who} pastes {lang} stack trace from {module} | Intermittent {error} under load in {module}
+ root cause found | null check added | race condition fixed
? {who} pastes a stack trace that ends in {error} in {function}.
- Assistant reads the traceback and locates the failing line in {module}.
- The {error} comes from a missing value that {function} does not expect.
- Assistant adds a guard and reproduces the crash with a small script.
- The exception disappears after the fix when {who} reruns the service.

write unit tests; missing tests; read_file write_file run_tests
= Unit tests for {function} with {tester} | {who} wants {tester} coverage of {module}
= Mocking the {lib} layer in {tester} | Flaky {tester} case in {module} stabilized
+ all tests pass | coverage raised | edge cases added
? {who} asks for {tester} unit tests that cover {function}.
- Assistant writes {count} test cases with fixtures for {function}.
- Assistant mocks the {lib} layer so that the tests run offline.
- Assistant runs {tester}: an edge case with empty input fails first.
- Coverage of {module} rises after the parametrized tests.

write a SQL query; a slow query; describe_table run_query
= {db} query counting {table} per week | Slow {db} join on {table} explained
= {who} needs window function over {table} | Duplicate rows in {table} found with {db}
+ index suggested | query rewritten | result verified
? {who} asks for a {db} query over {table} grouped by week.
- Assistant inspects the schema of {table} and its indexes.
- Assistant writes a SELECT with a join and a GROUP BY over {table}.
- EXPLAIN in {db} shows a full scan, so an index is proposed.
- {who} asks to exclude deleted rows from {table}.

refactor; a refactoring; read_file search_code write_file run_tests
= Refactoring {function} into smaller {lang} functions
= {who} splits {module} module by responsibility | Duplicate {lib} code in {module} extracted
= Renaming {function} across the {module} package
+ tests still pass | diff kept small | types added
? {who} wants {function} split up without changing its behavior.
- Assistant extracts two helpers from {function} and keeps its signature.
- Assistant finds all callers of {function} in {module} and renames them.
- Assistant adds type annotations and removes dead code.
- Assistant runs the test suite after each refactoring step.

fix a failing build; a red build; read_file write_file run_command
= {ci} build fails at {lang} lint step | Cache miss slows {ci} pipeline for {module}
= {who} fixes {ci} deploy job permissions | Docker image of {module} too large for {ci}
+ pipeline green | cache key fixed | job rerun
? {who} shares the log of a failed {ci} job and asks what broke.
- Assistant reads the build log: the {lang} install step exits with code 1.
- Assistant pins the runner image and corrects the cache key in the workflow.
- The {ci} pipeline of {module} turns green on the next commit.
- Assistant moves the lint job in front of the Docker build.

explain code; unfamiliar code; read_file search_code
= {who} asks how {function} works | Explaining {lang} concurrency in {module}
= What does this {lib} configuration do | Walkthrough of {module} request flow
+ diagram included | follow-up answered
? {who} is new to {module} and asks what {function} does.
- Assistant explains {function} line by line with an example.
- Assistant draws the call graph from the {lib} handler down to {module}.
- {who} asks why {lang} needs the lock there. | Assistant points to the documentation of {lib}.

upgrade a dependency; a version upgrade; read_file run_command write_file run_tests
= Upgrading {lib} to version {version} | {lib} {version} breaks {module} imports
= {who} resolves {lang} dependency conflict | Security advisory forces {lib} upgrade
+ lockfile updated | breaking change handled | upgrade postponed
? {who} wants to upgrade {lib} to {version} and asks what breaks.
- Assistant reads the changelog of {lib} {version} for breaking changes.
- Assistant raises the version and regenerates the lockfile.
- A transitive dependency conflicts with {lib} {version}.
- Assistant replaces the deprecated calls in {module}.

write a regex; a regex; run_command
= Regex matching {pattern} in {lang} | {who} extracts {pattern} from log lines
= Catastrophic backtracking in pattern for {pattern} | Regex for {pattern} rejects valid input
+ examples verified | anchors added
? {who} asks for a regular expression that matches {pattern}.
- Assistant proposes a pattern with named groups for {pattern}.
- Assistant tries the regex on {count} sample strings.
- {who} reports a sample string that should not match.
- Assistant adds anchors and a lazy quantifier to the expression.
"""
    ),
    common_tools=("list_files",),
    chatter=(
        "{who} shares the {lang} file and the version of {lib} in use.",
        "Assistant asks which {lang} version runs in production.",
        "{who} mentions that {module} is released on ticket {ref}.",
        "Assistant sums up the change for the commit message.",
        "{who} asks to keep the code style of the {module} package.",
        "Assistant reads {function} and the tests of {module} first.",
        "Assistant runs the build and the {tester} suite.",
        "{who} pastes a log line from {module} with {error}.",
        "Assistant suggests a query on {table} in {db} to check the effect.",
    ),
    slots={
        "who": "developer | user | engineer",
        "helper": "assistant",
        "expert": "reviewer | maintainer",
        "system": "sandbox | package registry | file search",
        "fiction": "a method | an option | a library",
        "lang lib error tester": "Python/FastAPI/KeyError/pytest | "
        "Python/Django/AttributeError/pytest | Python/SQLAlchemy/TypeError/pytest | "
        "TypeScript/React/TypeError/Vitest | TypeScript/Express/RangeError/Jest | "
        "Java/Spring/NullPointerException/JUnit | Kotlin/Ktor/IllegalStateException/JUnit | "
        "Go/Gin/nil pointer panic/testify | Rust/Tokio/overflow panic/nextest",
        "module function": "billing/parse_invoice | checkout/apply_discount | "
        "auth/refresh_token | search/rank_results | ingestion/decode_batch | "
        "scheduler/next_run | notifications/send_digest | exports/stream_rows",
        "db": "Postgres | MySQL | ClickHouse | SQLite | BigQuery",
        "table": "orders | sessions | invoices | customers | shipments",
        "ci": "GitLab | Jenkins | CircleCI | Buildkite",
        "version": "2.0 | 3.1 | 5.0 | 18.2",
        "pattern": "email addresses | dates | phone numbers | semantic versions | URL paths",
        "count": "4 | 6 | 9 | 12",
    },
    surges={"fix a failing build": 2.0},
)

# A second application of the same kind that has only just started: too few traces to cluster.
PILOT = replace(TRAVEL, team_id=3, traces=12)
DOMAINS = (TRAVEL, CODING, PILOT)
