import static java.nio.charset.StandardCharsets.UTF_8;

import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Prints the Events of one topic as they come: ReadEvents BROKERS REGISTRY TOPIC [HOW_MANY]. */
final class ReadEvents {
    static Properties settings(String brokers) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", brokers);
        settings.put("group.id", "event-printer-java");
        settings.put("isolation.level", "read_committed");
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        return settings;
    }

    static String header(Headers headers, String name) {
        return new String(headers.lastHeader(name).value(), UTF_8);
    }

    static String told(Registry registry, String key, byte[] value, Headers headers) throws Exception {
        long version = Long.parseLong(header(headers, "ce_sequence"));
        return key + " " + version + " " + header(headers, "ce_type") + " " + registry.decode(value);
    }

    public static void main(String[] arguments) throws Exception {
        Registry registry = new Registry(arguments[1]);
        long left = arguments.length > 3 ? Long.parseLong(arguments[3]) : Long.MAX_VALUE;
        try (var consumer = new KafkaConsumer<>(settings(arguments[0]), new StringDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(arguments[2]));
            while (left > 0) {
                for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    System.out.println(told(registry, record.key(), record.value(), record.headers()));
                    left--;
                }
                consumer.commitSync();
            }
        }
    }
}
