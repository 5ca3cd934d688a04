import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The bank as a Kafka Streams processor with a RocksDB store, exactly once: a Command is a signed number of cents and a number of its own,
 * an Event its kind, the cents, the balance and that number. Runs until it is killed; a line on standard output tells of each restoration.
 * Usage: Bank BROKERS GROUP COMMANDS EVENTS FOLDER COMMIT_MS
 */
public class Bank {
    private static final int THREADS = 2;

    static class Handle implements Processor<String, byte[], String, byte[]> {
        private ProcessorContext<String, byte[]> context;
        private KeyValueStore<String, Long> balances;

        @Override
        public void init(ProcessorContext<String, byte[]> context) {
            this.context = context;
            balances = context.getStateStore("balances");
        }

        @Override
        public void process(Record<String, byte[]> command) {
            ByteBuffer said = ByteBuffer.wrap(command.value());
            long cents = said.getLong();
            long number = said.getLong();
            Long known = balances.get(command.key());
            long balance = known == null ? 0 : known;
            byte kind = cents >= 0 ? (byte) 1 : balance >= -cents ? (byte) 2 : 3;
            if (kind != 3) {
                balance += cents;
                balances.put(command.key(), balance);
            }
            context.forward(command.withValue(ByteBuffer.allocate(25).put(kind).putLong(cents).putLong(balance).putLong(number).array()));
        }
    }

    static class Restored implements StateRestoreListener {
        private final AtomicLong began = new AtomicLong();
        private final AtomicLong records = new AtomicLong();

        @Override
        public void onRestoreStart(TopicPartition partition, String store, long from, long to) {
            began.compareAndSet(0, System.nanoTime());
        }

        @Override
        public void onBatchRestored(TopicPartition partition, String store, long to, long count) {}

        @Override
        public void onRestoreEnd(TopicPartition partition, String store, long count) {
            System.out.println("restored " + records.addAndGet(count) + " " + (System.nanoTime() - began.get()) / 1e9);
        }
    }

    public static void main(String[] a) throws Exception {
        Properties p = new Properties();
        p.put("bootstrap.servers", a[0]);
        p.put("application.id", a[1]);
        p.put("state.dir", a[4]);
        p.put("commit.interval.ms", a[5]);
        p.put("processing.guarantee", "exactly_once_v2");
        p.put("num.stream.threads", THREADS);
        p.put("replication.factor", 1);
        p.put("auto.offset.reset", "earliest");
        p.put("consumer.max.poll.records", 5000);
        p.put("consumer.fetch.max.wait.ms", 5);
        Topology bank = new Topology();
        bank.addSource("commands", Serdes.String().deserializer(), Serdes.ByteArray().deserializer(), a[2]);
        bank.addProcessor("handle", Handle::new, "commands");
        bank.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("balances"), Serdes.String(), Serdes.Long()), "handle");
        bank.addSink("events", a[3], Serdes.String().serializer(), Serdes.ByteArray().serializer(), "handle");
        KafkaStreams streams = new KafkaStreams(bank, p);
        streams.setGlobalStateRestoreListener(new Restored());
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(5))));
        streams.start();
        while (streams.state() != KafkaStreams.State.RUNNING) Thread.sleep(5);
        System.out.println("running");
        Thread.currentThread().join();
    }
}
